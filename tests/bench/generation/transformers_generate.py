"""Greedy tokens by transformers, f32, with its key-value cache: one process, one line of JSON.

    transformers_generate.py MODEL_FOLDER PROMPT NEW_TOKENS THREADS

Generates twice; the second time is the one that counts.
"""

import json
import os
import sys
import time

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

import torch
import transformers


def main():
    folder, prompt, new, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if tokenizer.chat_template:
        messages = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    else:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
    for _ in range(2):
        begun = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new
            )
        seconds = time.perf_counter() - begun
    tokens = out[0, ids.shape[1] :].tolist()
    print(
        json.dumps(
            {
                "tokens": len(tokens),
                "prompt_tokens": ids.shape[1],
                "seconds": seconds,
                "text": tokenizer.decode(tokens, skip_special_tokens=True),
                "versions": f"transformers {transformers.__version__}, torch {torch.__version__}",
            }
        )
    )


main()
