"""lm-eval on transformers, f32, the model loaded once: a request a line in, a line of JSON out.

    lm_eval_peer.py MODEL_FOLDER TASK_FOLDER THREADS

A request is [task, documents, batch size]; seconds are those of the model's request loop.
"""

import contextlib
import importlib.metadata
import json
import os
import sys
import time

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager


class Timed(HFLM):
    seconds = 0.0

    def timed(self, method, requests, **options):
        begun = time.perf_counter()
        answers = method(requests, **options)
        self.seconds += time.perf_counter() - begun
        return answers

    def loglikelihood(self, requests, **options):
        return self.timed(super().loglikelihood, requests, **options)

    def generate_until(self, requests, **options):
        return self.timed(super().generate_until, requests, **options)


def main():
    folder, tasks, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # Whatever lm-eval prints, answers alone go to standard output.
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        torch.set_num_threads(threads)
        model = Timed(pretrained=folder, dtype="float32", device="cpu", batch_size=1)
        manager = TaskManager(include_path=tasks, include_defaults=False)
        versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("lm-eval", "transformers", "torch"))
        print(json.dumps(dict(versions=versions)), file=answers, flush=True)
        for line in sys.stdin:
            task, documents, model.batch_size_per_gpu = json.loads(line)
            model.seconds = 0.0
            result = lm_eval.simple_evaluate(model=model, tasks=[task], limit=documents, task_manager=manager)
            metrics = {k: v for k, v in result["results"][task].items() if isinstance(v, float)}
            print(json.dumps(dict(seconds=model.seconds, metrics=metrics)), file=answers, flush=True)


main()
