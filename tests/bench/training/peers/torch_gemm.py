"""Rates of PyTorch's matrix products, in GFLOP/s: torch_gemm.py f32|bf16. Prints one line of JSON."""

import json
import os
import sys
import time

import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[sys.argv[1]]
rates = {}
for m, k, n in [(1024, 576, 1536), (1024, 1536, 576), (1024, 576, 49152)]:
    x, w = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype)
    seconds = []
    for _ in range(12):
        begun = time.perf_counter()
        torch.nn.functional.linear(x, w)
        seconds.append(time.perf_counter() - begun)
    rates[f"{m}x{k}x{n}"] = 2 * m * k * n / sorted(seconds[2:])[5] / 1e9
print(json.dumps({"rates": rates}))
