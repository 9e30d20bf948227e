"""The same DPO update by PyTorch and transformers, as TRL computes it: chosen and rejected as rows of their own, padded;
bf16 weights, SDPA, gradient checkpointing, fused AdamW, the reference's log-probabilities precomputed (here 0).

    python torch_step.py --shape llama3-8b --seconds 60 [--micro 4]

Prints a line of JSON for each update. Lengths have the means and the spread that the bench beside this file draws.
"""

import argparse
import json
import math
import random
import time

import torch
from torch.nn.functional import cross_entropy, logsigmoid
from transformers import LlamaConfig, LlamaForCausalLM

LLAMA = dict(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
             num_attention_heads=32, num_key_value_heads=8, rope_theta=500000.0)
SHAPES = {
    "llama3-8b": LLAMA,
    "wide": {**LLAMA, "num_hidden_layers": 2},
    "mistral-7b": {**LLAMA, "vocab_size": 32000, "rope_theta": 10000.0},
    "smollm2": dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                    num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True),
    "tiny": dict(vocab_size=500, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                 num_attention_heads=4, num_key_value_heads=2),
}
MEANS, SPREAD, BETA = (161.1, 261.9, 235.5), 0.7, 0.1


def drawn_lengths(rng, count, longest):
    pairs = []
    while len(pairs) < count:
        pair = [max(1, min(1024, int(mean * math.exp(rng.gauss(0, 1) * SPREAD - SPREAD**2 / 2)))) for mean in MEANS]
        if sum(pair) <= longest:
            pairs.append(pair)
    return pairs


def log_probabilities(model, prompts, answers, vocab, device):
    """Sums over each answer's tokens; tokens are random, rows are padded to the longest."""
    width = max(p + a for p, a in zip(prompts, answers))
    ids = torch.randint(vocab, (len(prompts), width), device=device)
    places = torch.arange(width, device=device)
    ends = torch.tensor([p + a for p, a in zip(prompts, answers)], device=device)[:, None]
    begins = torch.tensor(prompts, device=device)[:, None]
    logits = model(input_ids=ids, attention_mask=(places < ends).long(), use_cache=False).logits[:, :-1]
    # A row at a time: f32 scores of all rows would not fit.
    rows = [-cross_entropy(row.float(), target, reduction="none") for row, target in zip(logits, ids[:, 1:])]
    scored = (places[1:] >= begins) & (places[1:] < ends)
    return (torch.stack(rows) * scored).sum(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--micro", type=int, default=4, help="pairs of a micro-batch")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--longest", type=int, default=2048)
    parser.add_argument("--lengths", help="a JSON list of [prompt, chosen, rejected]; drawn without it")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rng = random.Random(1)
    known = json.load(open(options.lengths)) if options.lengths else []
    known = [pair for pair in known if sum(pair) <= options.longest]
    torch.manual_seed(1)
    config = LlamaConfig(**SHAPES[options.shape], max_position_embeddings=8192, attn_implementation="sdpa")
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-7, betas=(0.9, 0.95), weight_decay=0.0,
                                  fused=device == "cuda")
    begun, updates = time.perf_counter(), 0
    while updates < 2 or time.perf_counter() - begun < options.seconds:
        start = time.perf_counter()
        if known:
            first = updates * options.batch % max(1, len(known) - options.batch)
            pairs = known[first:first + options.batch]
        else:
            pairs = drawn_lengths(rng, options.batch, options.longest)
        pairs.sort(key=sum)
        for first in range(0, len(pairs), options.micro):
            prompts, chosen, rejected = zip(*pairs[first:first + options.micro])
            sums = log_probabilities(model, prompts * 2, chosen + rejected, config.vocab_size, device)
            half = len(prompts)
            (-logsigmoid(BETA * (sums[:half] - sums[half:])).sum() / options.batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds, tokens = time.perf_counter() - start, sum(map(sum, pairs))
        peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
        print(json.dumps({"what": "PyTorch's update", "shape": options.shape, "torch": torch.__version__,
                          "micro": options.micro, "pairs": len(pairs), "row_tokens": tokens, "seconds": seconds,
                          "tokens_per_second": tokens / seconds, "pairs_per_second": len(pairs) / seconds,
                          "peak_gib": peak}), flush=True)
        updates += 1


if __name__ == "__main__":
    main()
