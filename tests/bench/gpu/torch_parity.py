"""PyTorch's loss and gradients, in f32, of the step that the bench beside this file wrote with --parity FOLDER.

    python torch_parity.py FOLDER [--most 0.01]

Prints a line of JSON. Its status is 1 where a gradient is further from PyTorch's than that share of its length.
"""

import argparse
import json
import sys

import torch
from safetensors.torch import load_file
from torch.nn.functional import logsigmoid
from transformers import LlamaConfig, LlamaForCausalLM


def log_probability(model, prompt, answer, device):
    ids = torch.tensor([prompt + answer], device=device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1:-1]
    return logits.log_softmax(-1).gather(1, ids[0, len(prompt):, None]).sum()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--most", type=float, default=0.01)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = False
    step = json.load(open(f"{options.folder}/step.json"))
    config = LlamaConfig(**json.load(open(f"{options.folder}/shape.json")), attn_implementation="eager")
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    weights = {name: tensor.float().to(device) for name, tensor in load_file(f"{options.folder}/model.safetensors").items()}
    if config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights, assign=True)
    if config.tie_word_embeddings:
        model.tie_weights()
    # Buffers were made without numbers.
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)
    model.requires_grad_(True)
    losses = []
    for prompt, chosen, rejected in step["pairs"]:
        margin = log_probability(model, prompt, chosen, device) - log_probability(model, prompt, rejected, device)
        loss = -logsigmoid(step["beta"] * margin)
        (loss / len(step["pairs"])).backward()
        losses.append(loss.item())
    theirs, ours = sum(losses) / len(losses), load_file(f"{options.folder}/gradients.safetensors")
    worst, where = 0.0, None
    for name, parameter in model.named_parameters():
        expected = parameter.grad.cpu()
        far = ((ours[name].float() - expected).norm() / expected.norm()).item()
        if not far <= worst:
            worst, where = far, name
    print(json.dumps({"what": "parity with PyTorch", "shape": step["shape"], "torch": torch.__version__, "loss": step["loss"],
                      "their_loss": theirs, "worst_gradient": worst, "of": where, "gradients": len(ours)}))
    loss_is_near = abs(step["loss"] - theirs) <= options.most * abs(theirs)
    sys.exit(0 if worst <= options.most and loss_is_near else 1)


if __name__ == "__main__":
    main()
