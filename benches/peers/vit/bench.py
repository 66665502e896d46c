#!/usr/bin/env python3
"""Times an image encoder of CLIP ViT-B/16's shape (86 M parameters, random values) in PyTorch and ONNX Runtime on the CPU.

  VENV/bin/pip install torch==2.11.0 onnx onnxruntime
  VENV/bin/python benches/peers/vit/bench.py --batch 8

Prints one JSON object: milliseconds a picture of each. Pre-norm blocks of 12 heads, GELU by tanh as the ONNX operator has it.
The counterpart is `seemore bench encode --config benches/peers/vit/vit-b16.json --batch-size 8`.
"""

import argparse
import io
import json
import os
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.proj(y)
        return x + self.down(F.gelu(self.up(self.ln2(x)), approximate="tanh"))


class Encoder(nn.Module):
    def __init__(self, width=768, layers=12, heads=12, image=224, patch=16):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.ln = nn.LayerNorm(width)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.positions
        return self.ln(self.blocks(x))


def timed(run, batch, runs):
    for _ in range(2):
        run()
    wall = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        wall.append(1e3 * (time.perf_counter() - start) / batch)
    return {"median_ms": statistics.median(wall), "spread_ms": [min(wall), max(wall)]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model, images = Encoder().eval(), torch.randn(args.batch, 3, 224, 224)
    result = {"torch": torch.__version__, "batch": args.batch, "threads": args.threads}
    with torch.inference_mode():
        result["pytorch"] = timed(lambda: model(images), args.batch, args.runs)
    try:
        import onnxruntime
    except ImportError:
        print(json.dumps(result))
        return
    file = io.BytesIO()
    torch.onnx.export(model, (images,), file, opset_version=20, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images.numpy()}
    with torch.inference_mode():
        off = float((torch.from_numpy(session.run(None, feed)[0]) - model(images)).abs().max())
    assert off < 1e-3, off
    result["onnxruntime_version"] = onnxruntime.__version__
    result["onnxruntime"] = timed(lambda: session.run(None, feed), args.batch, args.runs)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
