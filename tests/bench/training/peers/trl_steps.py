"""DPO steps by TRL at its strongest on a CPU: bf16 autocast, precomputed reference, no checkpointing.

    trl_steps.py PAIRS.jsonl BATCH f32|bf16

PAIRS: a line a pair, {"prompt": [ids], "chosen": [ids], "rejected": [ids]}; one epoch in file order.
Prints one line of JSON: seconds of each step, the peak resident memory, versions and settings.
"""

import json
import os
import sys
import tempfile
import time

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback

VOCABULARY = 49152
SPECIAL = {"<eos>": VOCABULARY - 3, "<pad>": VOCABULARY - 2, "<unk>": VOCABULARY - 1}


def word_tokenizer():
    """One word an id, so that both sides see the same tokens."""
    words = {f"w{i}": i for i in range(VOCABULARY - 3)} | SPECIAL
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


def words(ids):
    return " ".join(f"w{i}" for i in ids)


class Clock(TrainerCallback):
    def __init__(self):
        self.seconds = []

    def on_step_begin(self, *args, **kwargs):
        self.begun = time.perf_counter()

    def on_step_end(self, *args, **kwargs):
        self.seconds.append(time.perf_counter() - self.begun)


def main():
    path, batch, dtype = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    with open(path) as lines:
        pairs = [json.loads(line) for line in lines]
    # TRL appends the end token, so the last id makes room for it.
    rows = [
        {"prompt": words(p["prompt"]) + " ", "chosen": words(p["chosen"][:-1]), "rejected": words(p["rejected"][:-1])}
        for p in pairs
    ]
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
            num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=2048, rope_theta=1e5,
            tie_word_embeddings=True, rms_norm_eps=1e-5, eos_token_id=SPECIAL["<eos>"],
            pad_token_id=SPECIAL["<pad>"], bos_token_id=SPECIAL["<eos>"],
        )
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        settings = trl.DPOConfig(
            output_dir=folder, per_device_train_batch_size=batch, num_train_epochs=1, report_to=[],
            save_strategy="no", use_cpu=True, precompute_ref_log_probs=True, learning_rate=1e-6,
            max_length=None, bf16=dtype == "bf16", gradient_checkpointing=False, logging_steps=1,
            disable_tqdm=True, train_sampling_strategy="sequential",
        )
        trainer = trl.DPOTrainer(
            model=model, args=settings, train_dataset=Dataset.from_list(rows),
            processing_class=word_tokenizer(), callbacks=[clock],
        )
        trainer.train()
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    versions = f"TRL {trl.__version__}, transformers {transformers.__version__}, torch {torch.__version__}"
    print(json.dumps({"seconds": clock.seconds, "peak_mib": peak / 1024, "versions": versions}), flush=True)


main()
