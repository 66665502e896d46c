#!/usr/bin/env python3
"""Times the model of preset `seemore` in PyTorch, on the CPU or a CUDA card; prints one JSON object.

  python bench.py                                       # training and decoding, eager, on the CPU
  python bench.py --device cuda --only train --mode eager,compile,reduce-overhead,cudagraph --dtype fp32,tf32,bf16 --fused-adam
  python bench.py --only matmul --matmul 4096x4096x4096 --device cuda --dtype fp32,tf32,fp16,bf16

Modes: eager; compile (torch.compile); reduce-overhead (torch.compile with its CUDA graphs); cudagraph (forward, backward and Adam of
a step captured as one torch.cuda.CUDAGraph). Lists are gone through; a cell that fails is recorded as {"error": ...}.
Written for torch 2.11.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time

import torch

from model import Config, Vlm


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="train,decode", help="train,decode,matmul")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument("--mode", default="eager", help="eager,compile,reduce-overhead,cudagraph")
    parser.add_argument("--dtype", default="fp32", help="fp32,tf32,bf16 (autocast); fp16 in matmul")
    parser.add_argument("--attn", default="math", help="math,sdpa")
    parser.add_argument("--fused-adam", action="store_true")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--text", type=int, default=32)
    parser.add_argument("--matmul", default="592x512x2048", metavar="MxNxK")
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--iters", type=int, default=30)
    parser.add_argument("--gen-prompt", type=int, default=4)
    parser.add_argument("--gen-tokens", type=int, default=64)
    parser.add_argument("--gen-repeats", type=int, default=5)
    return parser.parse_args()


args = arguments()
cuda = args.device.startswith("cuda")
device = torch.device(args.device)
if not cuda:
    torch.set_num_threads(args.threads)


def sync():
    if cuda:
        torch.cuda.synchronize()


def timed(count, run):
    """Wall and CPU milliseconds of `count` runs, each waited for."""
    sync()
    wall, cpu = [], time.process_time()
    for _ in range(count):
        start = time.perf_counter()
        run()
        sync()
        wall.append(1e3 * (time.perf_counter() - start))
    cpu = 1e3 * (time.process_time() - cpu) / count
    return {"median_ms": statistics.median(wall), "spread_ms": [min(wall), max(wall)], "cpu_ms": cpu, "runs": count}


def precision(dtype):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = dtype == "tf32"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == "bf16")


def batch(count, text):
    generator = torch.Generator().manual_seed(1337)
    images = torch.randn(count, 3, 96, 96, generator=generator)
    ids = torch.randint(0, 65, (count, text + 1), generator=generator)
    return images.to(device), ids[:, :-1].to(device), ids[:, 1:].to(device)


def train(mode, dtype, attention):
    torch.manual_seed(1337)
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    config = Config(attention=attention)
    model = Vlm(config).to(device).train()
    captured = mode == "cudagraph" or (cuda and mode == "reduce-overhead")
    extra = {"fused": True} if args.fused_adam else {}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **extra, **({"capturable": True} if captured else {}))
    images, ids, targets = batch(args.batch, args.text)
    forward = model
    if mode in ("compile", "reduce-overhead"):
        # not touched by an eager run, whose memory would grow by the compiler
        torch._dynamo.reset()
        forward = torch.compile(model, mode="default" if mode == "compile" else mode)

    def step():
        if mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad(set_to_none=True)
        with precision(dtype):
            loss = forward(images, ids, targets)
        loss.backward()
        optimizer.step()
        return loss

    run, start = step, time.perf_counter()
    if mode == "cudagraph":
        # what is captured must have run before, on a stream that is not the default one
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured_loss = step()

        def run():
            graph.replay()
            return captured_loss

    first = float(run().detach())
    cold = 1e3 * (time.perf_counter() - start)
    for _ in range(args.warmup):
        run()
    result = timed(args.iters, run)
    last = float(run().detach())
    assert last < first, f"the loss went from {first} to {last}"
    flops = 3 * config.forward_flops(args.batch, args.text)
    result |= {"first_step_ms": cold, "loss_first": first, "loss_last": last, "gflops": flops / result["median_ms"] / 1e6}
    if cuda:
        result["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
    return result


def decode(dtype, attention):
    model = Vlm(Config(attention=attention)).to(device).eval()
    images, ids, _ = batch(1, args.gen_prompt)
    with torch.no_grad(), precision(dtype):
        model.generate(images, ids, min(8, args.gen_tokens))
        first = timed(args.gen_repeats, lambda: model.generate(images, ids, 1))
        whole = timed(args.gen_repeats, lambda: model.generate(images, ids, args.gen_tokens))
    further = {key: (whole[key] - first[key]) / (args.gen_tokens - 1) for key in ("median_ms", "cpu_ms")}
    return {"first_token": first, "further_token": further, "tokens": args.gen_tokens, "prompt": args.gen_prompt}


def matmul(dtype):
    m, n, k = map(int, args.matmul.split("x"))
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(dtype, torch.float32)
    precision(dtype)
    a, b = torch.randn(m, k, device=device).to(kind), torch.randn(k, n, device=device).to(kind)
    for _ in range(args.warmup):
        a @ b
    result = timed(args.iters, lambda: a @ b)
    flops = 2 * m * n * k
    result |= {"shape": args.matmul, "gflops": flops / result["median_ms"] / 1e6, "gflops_per_cpu_s": flops / max(result["cpu_ms"], 1e-6) / 1e6}
    return result


def guarded(run, *rest):
    print(run.__name__, *rest, file=sys.stderr)
    try:
        return run(*rest)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {str(error)[:500]}"}


result = {
    "torch": torch.__version__,
    "cuda": torch.version.cuda if cuda else None,
    "device": torch.cuda.get_device_name() if cuda else "cpu",
    "threads": torch.get_num_threads(),
    "python": platform.python_version(),
    "batch": args.batch,
    "text": args.text,
    "parameters": sum(parameter.numel() for parameter in Vlm(Config()).parameters()),
}
only, dtypes = args.only.split(","), args.dtype.split(",")
if "train" in only:
    cells = [(mode, dtype, attention) for mode in args.mode.split(",") for dtype in dtypes for attention in args.attn.split(",")]
    result["train"] = {"/".join(cell): guarded(train, *cell) for cell in cells}
if "decode" in only:
    cells = [(dtype, attention) for dtype in dtypes for attention in args.attn.split(",")]
    result["decode"] = {"/".join(cell): guarded(decode, *cell) for cell in cells}
if "matmul" in only:
    result["matmul"] = {dtype: guarded(matmul, dtype) for dtype in dtypes}
print(json.dumps(result))
