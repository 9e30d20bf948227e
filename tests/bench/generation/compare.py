"""`lpc generate` and transformers in turns: greedy, f32, the same model folder, the same threads.

    compare.py LPC MODEL.gguf|WHEEL|FOLDER [--threads 2] [--rounds 5] [--tokens 256]

Every run is a process of its own that loads the model and answers the same prompt twice; the second answer's
seconds count, prompt included. Memory is the process's peak resident size as the system accounts it. Prints a
table in Markdown; both sides must write the same text.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PROMPT = "Write a long story about a lighthouse keeper who finds a message in a bottle."


def run(command, env):
    """Output, errors, and peak MiB of a child."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=out, stderr=errors, env=os.environ | env)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, errors):
            file.seek(0)
            texts.append(file.read().decode())
    if child.returncode:
        sys.exit(f"{command[0]}: status {child.returncode}: {texts[1][-2000:]}")
    return texts[0], texts[1], usage.ru_maxrss / 1024


def as_folder(model, work):
    """A folder in f32 that both sides read; transformers takes a GGUF file apart."""
    if model.is_dir():
        return model
    if zipfile.is_zipfile(model):
        with zipfile.ZipFile(model) as archive:
            (name,) = [n for n in archive.namelist() if n.endswith(".gguf")]
            model = Path(archive.extract(name, work))
    # A model that came from GGUF calls itself quantised and is not saved; a plain one with its weights is.
    convert = (
        "import sys, torch, transformers as t; d, f, o = sys.argv[1:];"
        "m = t.AutoModelForCausalLM.from_pretrained(d, gguf_file=f, dtype=torch.float32);"
        "c = t.LlamaConfig(**{k: v for k, v in m.config.to_dict().items() if k != 'quantization_config'});"
        "n = t.LlamaForCausalLM(c).float(); n.load_state_dict(m.state_dict()); n.save_pretrained(o);"
        "t.AutoTokenizer.from_pretrained(d, gguf_file=f).save_pretrained(o)"
    )
    folder = work / "model"
    run([sys.executable, "-c", convert, str(model.parent), model.name, str(folder)], {"HF_HUB_OFFLINE": "1"})
    return folder


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lpc")
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=256)
    a = parser.parse_args()
    env = {"OMP_NUM_THREADS": str(a.threads)}
    with tempfile.TemporaryDirectory() as work:
        folder = str(as_folder(a.model, Path(work)))
        peer = str(Path(__file__).with_name("transformers_generate.py"))
        ours, theirs = [], []
        for number in range(a.rounds):
            limit = ["--max-new-tokens", str(a.tokens), "--threads", str(a.threads)]
            out, errors, mib = run([a.lpc, "generate", folder, "--prompt", PROMPT, "--prompt", PROMPT, *limit], env)
            tokens, seconds = re.findall(r"^(\d+) tokens in ([\d.]+) s", errors, re.M)[-1]
            our_text = out.split(f"> {PROMPT}\n")[-1].strip()
            ours.append((int(tokens) / float(seconds), mib, int(tokens)))
            command = [sys.executable, peer, folder, PROMPT, str(a.tokens), str(a.threads)]
            out, _, mib = run(command, env)
            row = json.loads(out.splitlines()[-1])
            theirs.append((row["tokens"] / row["seconds"], mib, row["tokens"]))
            print(f"round {number + 1}: ours {ours[-1]}, transformers {theirs[-1]}", file=sys.stderr)
            same = our_text == row["text"].strip()
    print("# Generation beside transformers\n")
    print(f"Greedy, f32, KV cache, batch 1, {a.threads} threads, {row['prompt_tokens']} prompt tokens, at most {a.tokens} new;")
    print(f"{a.rounds} rounds in turns, each a process of its own; {row['versions']}, Python {platform.python_version()}.")
    print(f"Both write the same text: {'yes' if same else 'NO'}.\n")
    print("| side | tokens/s, median | lowest to highest | peak MiB, median | new tokens |\n| --- | ---: | ---: | ---: | ---: |")
    for name, rows in (("lpc generate", ours), ("transformers", theirs)):
        speeds = [speed for speed, *_ in rows]
        memory = statistics.median(mib for _, mib, _ in rows)
        print(
            f"| {name} | {statistics.median(speeds):.1f} | {min(speeds):.1f} to {max(speeds):.1f} "
            f"| {memory:.0f} | {rows[-1][2]} |"
        )


if __name__ == "__main__":
    main()
