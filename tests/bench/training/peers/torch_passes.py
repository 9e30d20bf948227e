"""Forward and backward passes by PyTorch and transformers: log-probabilities of every token.

    torch_passes.py f32|bf16 BATCH TOKENS STEPS

bf16 is autocast over f32 weights. Prints one line of JSON, as trl_steps.py.
"""

import contextlib
import json
import os
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def main():
    dtype, batch, tokens, steps = sys.argv[1], *map(int, sys.argv[2:5])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=2048, rope_theta=1e5,
        tie_word_embeddings=True, rms_norm_eps=1e-5, use_cache=False, attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config)
    ids, targets = torch.randint(0, 49152, (2, batch, tokens))
    seconds = []
    for _ in range(steps):
        begun = time.perf_counter()
        model.zero_grad(set_to_none=True)
        autocast = torch.autocast("cpu", dtype=torch.bfloat16) if dtype == "bf16" else contextlib.nullcontext()
        with autocast:
            logits = model(input_ids=ids, use_cache=False).logits
        logps = torch.log_softmax(logits.float(), -1).gather(-1, targets.unsqueeze(-1))
        (-logps.mean()).backward()
        seconds.append(time.perf_counter() - begun)
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "peak_mib": peak / 1024, "versions": f"torch {torch.__version__}"}))


main()
