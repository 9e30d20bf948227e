"""Runs the Python of a model's card as it stands there and compares with what `lpc` computed.

    python tests/formats/check_card.py FOLDER EXPECTED.json

EXPECTED.json: ids of the card's prompt, logits at every position with the latent and without.
Prints the largest differences; fails where one exceeds the tolerance.
"""

import json
import os
import re
import sys
from pathlib import Path

import torch

folder, expected = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
os.chdir(folder)
snippet = re.search(r"```python\n(.*?)```", Path("README.md").read_text(), re.S).group(1)
names = {}
exec(snippet, names)
model, ids = names["model"], names["ids"]
assert ids[0].tolist() == expected["ids"], (ids[0].tolist(), expected["ids"])


def compare(what, key):
    with torch.no_grad():
        got = model(ids).logits[0].double()
    want = torch.tensor(expected[key], dtype=torch.float64)
    worst = (got - want).abs().max().item()
    print(f"{what}: largest difference {worst:.2e}, largest logit {want.abs().max().item():.2f}")
    assert worst <= expected["tolerance"], worst
    return got


biased = compare("with the latent", "logits")
if "hook" in names:
    names["hook"].remove()
    plain = compare("without", "plain")
    print(f"the bias moves a logit by up to {(biased - plain).abs().max().item():.2e}")
