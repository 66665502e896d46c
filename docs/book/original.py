"""Records original.json: the losses of the original's arithmetic in PyTorch.

    SEEMORE_BOOK=runs/book cargo run --example 15_original      # writes parameters and batch
    pip install torch==2.11.0 safetensors numpy
    python docs/book/original.py runs/book/original.safetensors > docs/book/original.json

The model is written down from the description of the original seemore: attention scores times
C**-0.5 with the width C of the embedding, a second residual that starts at the normalised value,
and padding that counts in the loss. There is no dropout, whose random numbers would differ. The
optimizer is AdamW with PyTorch's defaults and a learning rate of 1e-3.
"""

import json
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

PATCH, HEADS, STEPS = 16, 8, 21

values = load_file(sys.argv[1])
images, ids, targets = values.pop("in.images"), values.pop("in.ids").long(), values.pop("in.targets").long()
p = {name: value.requires_grad_() for name, value in values.items()}


def norm(x, name):
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], 1e-5)


def linear(x, name):
    return F.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))


def attention(x, name, causal):
    batch, length, width = x.shape
    q, k, v = (linear(x, f"{name}.{part}").view(batch, length, HEADS, -1).transpose(1, 2) for part in "qkv")
    scores = q @ k.transpose(-2, -1) * width**-0.5
    if causal:
        scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    return linear((scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape), f"{name}.proj")


def block(x, name, causal):
    x = norm(x + attention(norm(x, f"{name}.ln1"), f"{name}.attn", causal), f"{name}.ln2")
    return x + linear(F.gelu(linear(x, f"{name}.fc1")), f"{name}.fc2")


def blocks(x, name, causal):
    i = 0
    while f"{name}.{i}.fc1.weight" in p:
        x, i = block(x, f"{name}.{i}", causal), i + 1
    return x


def loss():
    patches = F.conv2d(images, p["vit.patch.weight"], p["vit.patch.bias"], PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([p["vit.cls"].expand(len(images), -1, -1), patches], 1) + p["vit.pos"]
    picture = norm(blocks(x, "vit.blocks", False)[:, :1], "vit.ln")
    picture = linear(F.gelu(linear(picture, "proj1")), "proj2")
    x = torch.cat([picture, p["tok.weight"][ids]], 1)
    x = blocks(x + p["pos.weight"][: x.shape[1]], "blocks", True)
    logits = linear(norm(x, "ln_f"), "lm_head")[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


optimizer = torch.optim.AdamW(p.values(), lr=1e-3)
losses = []
for _ in range(STEPS):
    value = loss()
    losses.append(round(value.item(), 6))
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
print(json.dumps(losses))
