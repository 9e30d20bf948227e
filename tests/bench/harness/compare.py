"""`lpc eval` and lm-eval in turns: the same documents, f32, the same model folder, the same threads.

    compare.py LPC MODEL.gguf|WHEEL DATA [--work WORK] [--threads 2] [--tasks arc_easy,gsm8k]

DATA holds the tasks' files as `lpc eval --data` reads them; WORK keeps the dequantised model and lm-eval's task
files. lm-eval's batch size is the best of 1, 8 and 32 on arc_easy, found first. Counted are, for us, the seconds
from a loaded model to the last verdict; for lm-eval those inside its request loop (`loglikelihood` or
`generate_until`), so that its reading, building of requests and adding up cost it nothing. Prints a table in
Markdown; where a metric differs in a printed digit it says so.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BATCH_SIZES = [1, 8, 32]
PROBED = 32
# Documents and rounds of a task: some six minutes in all on two cores.
TASKS = {
    "arc_easy": (128, 3),
    "arc_challenge": (48, 1),
    "truthfulqa_mc1": (16, 1),
    "truthfulqa_mc2": (12, 1),
    "gsm8k": (8, 1),
}


def prepare(model, data, work):
    """Model folder and task files, made as for the golden file."""
    spec = importlib.util.spec_from_file_location("oracle", HERE.parents[2] / "fixtures/golden/lm_eval_generate.py")
    oracle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(oracle)
    work.mkdir(parents=True, exist_ok=True)
    if zipfile.is_zipfile(model):
        with zipfile.ZipFile(model) as archive:
            (name,) = [n for n in archive.namelist() if n.endswith(".gguf")]
            model = Path(archive.extract(name, work))
    oracle.dequantised(model, work / "model")
    oracle.task_folder(data, work / "tasks")


class Peer:
    """lm-eval with the model loaded: asked for a task, it answers with seconds and metrics."""

    def __init__(self, work, threads):
        command = [sys.executable, HERE / "lm_eval_peer.py", work / "model", work / "tasks", str(threads)]
        # Threads that wait must not take our cores.
        environment = os.environ | dict(OMP_NUM_THREADS=str(threads), OMP_WAIT_POLICY="passive")
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.versions = self.answer()["versions"]

    def answer(self):
        line = self.child.stdout.readline()
        if not line:
            sys.exit(f"lm-eval ended: status {self.child.wait()}")
        return json.loads(line)

    def run(self, task, documents, batch_size):
        print(json.dumps([task, documents, batch_size]), file=self.child.stdin, flush=True)
        answer = self.answer()
        return answer["seconds"], answer["metrics"]


def ours(a, task, documents):
    """Seconds from the line that says that the model is loaded to the first metric, and the metrics' means."""
    records = a.work / "ours.jsonl"
    Path(f"{records}.partial").unlink(missing_ok=True)
    command = [a.lpc, "eval", task, "--model", a.work / "model", "--data", a.data, "--limit", str(documents)]
    command += ["--records", records, "--threads", str(a.threads)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    loaded = ended = None
    metrics = {}
    for line in child.stdout:
        if "tasks as in lm-eval" in line:
            loaded = time.perf_counter()
        elif line.startswith(f"{task}: ") and "±" in line:
            ended = ended or time.perf_counter()
            metric, mean, *_ = line.removeprefix(f"{task}: ").split()
            metrics[metric if "," in metric else f"{metric},none"] = mean
    errors = child.stderr.read()
    if child.wait() or loaded is None or ended is None:
        sys.exit(f"lpc eval {task}: status {child.returncode}: {errors[-2000:]}")
    return ended - loaded, metrics


def speed(documents, seconds):
    speeds = [documents / s for s in seconds]
    middle = f"{statistics.median(speeds):.2f}"
    return middle if len(speeds) == 1 else f"{middle} ({min(speeds):.2f} to {max(speeds):.2f})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lpc")
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("target/peers/lm_eval"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tasks", default=",".join(TASKS))
    a = parser.parse_args()
    a.data, a.work = a.data.resolve(), a.work.resolve()
    tasks = a.tasks.split(",")
    if unknown := [t for t in tasks if t not in TASKS]:
        parser.error(f"--tasks: expected some of {', '.join(TASKS)}, got {', '.join(unknown)}")
    begun = time.perf_counter()
    prepare(a.model.resolve(), a.data, a.work)
    peer = Peer(a.work, a.threads)
    peer.run("arc_easy", 4, 1)
    probed = {size: peer.run("arc_easy", PROBED, size)[0] for size in BATCH_SIZES}
    best = min(probed, key=probed.get)
    rows = []
    for task in tasks:
        documents, rounds = TASKS[task]
        mine, theirs = [], []
        for _ in range(rounds):
            seconds, metrics = ours(a, task, documents)
            mine.append(seconds)
            seconds, expected = peer.run(task, documents, best)
            theirs.append(seconds)
        expected = {name: f"{expected[name]:.4f}" for name in metrics}
        ratio = statistics.median(theirs) / statistics.median(mine)
        same = "equal" if metrics == expected else f"ours {metrics}, lm-eval {expected}"
        rows.append(f"| {task} | {documents} × {rounds} | {speed(documents, mine)} | {speed(documents, theirs)} | {ratio:.2f} | {same} |")
        print(rows[-1], file=sys.stderr)
    print("# `lpc eval` beside lm-eval\n")
    tried = ", ".join(f"{size}: {PROBED / s:.2f}" for size, s in probed.items())
    print(f"f32, CPU, {a.threads} threads, in turns; {peer.versions}, Python {platform.python_version()}.")
    print(f"lm-eval's batch size: {best}, the best on arc_easy's first {PROBED} documents (documents/s by batch size: {tried}).")
    print("lm-eval's seconds are its request loop's alone.\n")
    print("| task | documents × rounds | lpc, documents/s | lm-eval, documents/s | ratio | metrics to four digits |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    print("\n".join(rows))
    print(f"{time.perf_counter() - begun:.0f} s in all", file=sys.stderr)


if __name__ == "__main__":
    main()
