"""`lpc eval` and lm-eval in turns on the same documents, model folder and threads: documents a second.

    compare.py LPC MODEL.gguf DATA WORK [--threads 2] [--rounds 5]

DATA and WORK as for fixtures/golden/lm_eval_generate.py, whose model folder and task files are used. lm-eval
runs in f32 with the batch size of 1, 8 and 32 that a first round of arc_easy finds the fastest. Its seconds are
those of the evaluation alone; ours are the whole process's, reading the model included. Prints a table in
Markdown.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TASKS = {"arc_easy": 100, "arc_challenge": 100, "truthfulqa_mc2": 40, "gsm8k": 8}
GENERATOR = Path(__file__).parents[2].parent / "fixtures/golden/lm_eval_generate.py"


def generator():
    spec = importlib.util.spec_from_file_location("lm_eval_generate", GENERATOR)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peer(work, task, limit, batch):
    """In a process of its own: seconds and metrics of an evaluation, the model read before."""
    import lm_eval
    import torch
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = HFLM(pretrained=str(work / "model"), dtype="float32", device="cpu", batch_size=batch)
    manager = TaskManager(include_path=str(work / "tasks"), include_defaults=False)
    begun = time.perf_counter()
    result = lm_eval.simple_evaluate(
        model=model, tasks=[task], limit=limit, task_manager=manager, bootstrap_iters=0)
    seconds = time.perf_counter() - begun
    metrics = {k: v for k, v in result["results"][task].items() if isinstance(v, float)}
    print("\n" + json.dumps(dict(seconds=seconds, metrics=metrics)))


def theirs(arguments, task, batch):
    command = [sys.executable, __file__, "--peer", str(arguments.work), task, str(TASKS[task]), str(batch)]
    environment = os.environ | {
        "OMP_NUM_THREADS": str(arguments.threads), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(arguments.work / "hub"), "TOKENIZERS_PARALLELISM": "false",
    }
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        environment.pop(name, None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def ours(arguments, task):
    with tempfile.TemporaryDirectory() as folder:
        command = [
            str(arguments.lpc), "eval", task, "--model", str(arguments.work / "model"), "--data", str(arguments.data),
            "--limit", str(TASKS[task]), "--threads", str(arguments.threads), "--runs", folder,
        ]
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return dict(seconds=seconds, printed=done.stdout)


def main():
    if sys.argv[1:2] == ["--peer"]:
        return peer(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    parser = argparse.ArgumentParser()
    for name in ("lpc", "model", "data", "work"):
        parser.add_argument(name, type=lambda p: Path(p).resolve())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.work.mkdir(exist_ok=True)
    made = generator()
    made.dequantised(arguments.model, arguments.work / "model")
    made.task_folder(arguments.data, arguments.work / "tasks")
    by_batch = {batch: theirs(arguments, "arc_easy", batch)["seconds"] for batch in (1, 8, 32)}
    best = min(by_batch, key=by_batch.get)
    told = ", ".join(f"{b}: {TASKS['arc_easy'] / s:.2f}" for b, s in by_batch.items())
    print(f"lm-eval on arc_easy by batch size, documents/s: {told}; {best} is used\n", flush=True)
    print("| task | documents | rounds | lpc, documents/s | lm-eval, documents/s | median ratio |")
    print("|---|---:|---:|---:|---:|---:|", flush=True)
    for task, documents in TASKS.items():
        rounds = arguments.rounds if task == "arc_easy" else 1
        a, b = [], []
        for _ in range(rounds):
            a.append(ours(arguments, task))
            b.append(theirs(arguments, task, best))
        rates = [documents / statistics.median(r["seconds"] for r in side) for side in (a, b)]
        ratio = statistics.median(y["seconds"] / x["seconds"] for x, y in zip(a, b))
        print(f"| {task} | {documents} | {rounds} | {rates[0]:.2f} | {rates[1]:.2f} | {ratio:.2f} |", flush=True)
        print(f"<!-- {a[0]['printed'].strip()} -->\n<!-- lm-eval: {b[0]['metrics']} -->", file=sys.stderr)


main()
