#!/usr/bin/env python3
"""Writes RESULTS.md and the plots from the raw records of benches/run.

  benches/report.py [FOLDER]      # FOLDER holds results/ and gets RESULTS.md, scale-time.svg, scale-memory.svg [default: benches]
"""

import json
import statistics
import sys
from pathlib import Path

import plot

MIB = 2**20


class Run:
    """The records of one part on one machine, in the order in which they were taken."""

    def __init__(self, path):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.machine, self.records = lines[0], lines[1:]

    def of(self, of, what):
        return [record for record in self.records if (record["of"], record["what"]) == (of, what) and "error" not in record]

    def lines(self, what, bench, variant=None):
        """Lines of `seemore bench --json` out of the records of `what`."""
        lines = [line for record in self.of("seemore", what) for line in record["lines"]]
        return [line for line in lines if line["bench"] == bench and variant in (None, line["variant"])]

    def ours(self, what, bench, variant, key):
        """The median of a figure over all processes that measured it."""
        return median(line.get(key) for line in self.lines(what, bench, variant))

    def memory(self, of, what):
        """Peak memory of the processes."""
        return median(record["peak_rss_bytes"] for record in self.of(of, what))

    def beside(self, peer, what, value):
        """A figure of seemore in the processes just before and just after a peer's record."""
        at = self.records.index(peer)
        near = []
        for side in (reversed(self.records[:at]), self.records[at + 1 :]):
            near += [record for record in side if (record["of"], record["what"]) == ("seemore", what) and "error" not in record][:1]
        return median(value(record) for record in near)


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def number(value, digits=3):
    """A number with so many digits that count."""
    if value is None:
        return "-"
    if value and abs(value) < 10 ** (digits - 1):
        return f"{value:.{digits}g}"
    return f"{value:.0f}"


def seconds(ms):
    """A time from milliseconds."""
    if ms is None:
        return "-"
    return f"{number(ms / 1e3)} s" if ms >= 1e3 else f"{number(ms)} ms"


def size(count):
    if count is None:
        return "-"
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{number(count / unit)} {name}"
    return f"{number(count / 1e3)} kB"


def ratio(over, under):
    return None if over is None or not under else over / under


def table(head, rows):
    cell = lambda value: str(value).replace("|", "\\|")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(map(cell, row)) + " |" for row in rows] + [""]


def goal(what, wanted, reached, factor, note=""):
    """A row of goals: `factor` is how far it was reached, 1 being just so; None where it was not measured."""
    verdict = "not measured" if factor is None else "yes" if factor >= 1 else f"no: {number(100 * factor, 2)} % of the way"
    return [what, wanted, reached if factor is not None else "-", verdict, note]


def variant_line(record, variant):
    return next((line for line in record["lines"] if line["variant"] == variant), {})


def share(lines, names):
    """The part of a profiled run that kernels whose name starts with one of `names` take."""
    shares = []
    for line in lines:
        all_ms = sum(kernel["ms"] for kernel in line.get("kernels", []))
        if all_ms:
            shares.append(sum(kernel["ms"] for kernel in line["kernels"] if kernel["kernel"].startswith(names)) / all_ms)
    return median(shares)


def products(run, what, shape, key="gflops_per_cpu_s"):
    """For each layout of a product the best of the kernel's forms: {layout: (figure, form)}."""
    layouts = {}
    for line in run.lines(what, "matmul"):
        sizes, layout = line["case"].split(" ", 1)
        if sizes == shape and line.get(key) is not None:
            layouts.setdefault(layout, {}).setdefault(line["variant"], []).append(line[key])
    best = lambda forms: max((median(values), form) for form, values in forms.items())
    return {layout: best(forms) for layout, forms in layouts.items()}


def torch_cells(run, what, part):
    """PyTorch's cells of a part, each with its record: [(name, cell, record)]."""
    cells = []
    for record in run.of("pytorch", what):
        for name, cell in record["lines"][0].get(part, {}).items():
            if "error" not in cell:
                cells.append((name, cell, record))
    return cells


def fastest(cells, value=lambda cell: cell["median_ms"]):
    return min(cells, key=lambda entry: value(entry[1]), default=(None, None, None))


def software(run):
    """Goals and figures on the software driver."""
    text = ["## On the software driver: goals", ""]
    rows = []
    shape = next((line["case"].split(" ")[0] for line in run.lines("matmul", "matmul")), None)
    best = products(run, "matmul", shape)
    slowest = min(best.values())[0] if best else None
    each = ", ".join(f"{layout} {number(value)}" for layout, (value, _) in best.items())
    rows.append(goal(f"matrix product {shape}, each transposition", "at least 20 GFLOP per CPU-second", each, ratio(slowest, 20), "best form of each layout"))
    cpu = run.ours("train", "train", "step", "cpu_ms")
    rows.append(goal("training step", "at most 2.4 CPU-seconds", seconds(cpu), ratio(2400, cpu), "CPU time, all threads"))
    part = share(run.lines("train", "train", "step"), ("matmul",))
    rows.append(goal("matrix products in that step", "at least 70 %", f"{number(100 * (part or 0))} %", ratio(part, 0.7), "by timestamps around every dispatch"))

    wall = lambda variant: lambda record: variant_line(record, variant).get("median_ms")
    name, cell, record = fastest(torch_cells(run, "train", "train"))
    if cell:
        times = ratio(run.beside(record, "train", wall("step")), cell["median_ms"])
        rows.append(["training step beside PyTorch eager", "said, not set", f"{number(times)} times PyTorch's", "-", name])
    name, cell, record = fastest(torch_cells(run, "decode", "decode"), lambda cell: cell["further_token"]["median_ms"])
    if cell:
        times = ratio(run.beside(record, "decode", wall("further token")), cell["further_token"]["median_ms"])
        rows.append(goal("decoded token with a key/value cache", "at most 2 times PyTorch's", f"{number(times)} times", ratio(2, times), name))
    else:
        rows.append(goal("decoded token with a key/value cache", "at most 2 times PyTorch's", "", None))
    memory, theirs = run.memory("seemore", "train"), run.memory("pytorch", "train")
    times = ratio(memory, theirs)
    rows.append(goal("peak memory of a training process", "below PyTorch's", f"{size(memory)}, {number(times)} of it", ratio(1, times)))

    burn = next(iter(run.of("burn", "train,gen")), None)
    lines = burn["lines"][0] if burn else {}
    step = lines.get("train", {}).get("step", {}).get("wall_median_ms")
    token = lines.get("decode_kv_cache", {}).get("per_token", {}).get("wall_median_ms")
    faster = ratio(step, burn and run.beside(burn, "train", wall("step")))
    rows.append(goal("training step against Burn", "at least 3.5 times faster", f"{number(faster)} times", ratio(faster, 3.5)))
    faster = ratio(token, burn and run.beside(burn, "decode", wall("further token")))
    rows.append(goal("decoded token against Burn", "at least 10 times faster", f"{number(faster)} times", ratio(faster, 10)))
    first = run.ours("train, cold", "train", "first step, kernels compiled", "median_ms")
    theirs = lines.get("train", {}).get("first_step_ms")
    note = f"Burn: {seconds(theirs)}" if theirs else ""
    rows.append(goal("first training step, all caches empty", "at most 20 s", seconds(first), ratio(20e3, first), note))
    theirs = lines.get("train", {}).get("peak_rss_mib")
    times = ratio(memory, theirs and theirs * MIB)
    rows.append(goal("peak memory of a training process", "below Burn's", f"{size(memory)}, {number(times)} of it", ratio(1, times)))
    text += table(["what", "goal", "reached", "goal met", "note"], rows)
    text += side_by_side(run) + every_kernel(run, "all")
    return text


def cpu(run):
    """Goals and figures on the CPU executor."""
    text = ["## On the CPU: goals", ""]
    rows = []
    wall = lambda variant: lambda record: variant_line(record, variant).get("median_ms")

    def beside(what, part, variant, names, value, most):
        name, cell, record = fastest([entry for entry in torch_cells(run, what, part) if entry[0].split("/")[0] in names], value)
        times = ratio(cell and run.beside(record, part, wall(variant)), cell and value(cell))
        rows.append(goal(f"{variant} beside PyTorch {names[0]}", f"at most {most} of its time", f"{number(times)}" if times else "", ratio(most, times), name or ""))

    step = lambda cell: cell["median_ms"]
    beside("train", "train", "step", ["eager"], step, 0.6)
    beside("train, compile", "train", "step", ["compile"], step, 1.0)
    beside("decode", "decode", "further token", ["fp32"], lambda cell: cell["further_token"]["median_ms"], 0.2)
    for burn in run.of("burn", "train,gen"):
        line = burn["lines"][0]
        for variant, part, theirs in (("step", "train", line["train"]["step"]), ("further token", "decode", line["decode_kv_cache"]["per_token"])):
            times = ratio(run.beside(burn, part, wall(variant)), theirs["wall_median_ms"])
            rows.append([f"{variant} beside Burn", "said, not set", number(times), "-", f"{line['backend']} backend"])
    memory, theirs = run.memory("seemore", "train"), run.memory("pytorch", "train")
    rows.append(goal("peak memory of a training process", "at most 300 MB", f"{size(memory)}; PyTorch {size(theirs)}", ratio(300e6, memory)))
    vit, peer = run.ours("encode", "encode", "images to features", "median_ms"), next(iter(run.of("vit", "encode")), None)
    if peer and vit:
        line = peer["lines"][0]
        each = vit / line["batch"]
        for name in ("onnxruntime", "pytorch"):
            if name in line:
                times = ratio(each, line[name]["median_ms"])
                most = 0.9 if name == "onnxruntime" else 1.0
                note = f"{number(each)} ms a picture, {name} {number(line[name]['median_ms'])} ms"
                rows.append(goal(f"CLIP ViT-B/16 shape, batch {line['batch']}, beside {name}", f"at most {most} of its time", number(times), ratio(most, times), note))
    text += table(["what", "goal", "reached", "goal met", "note"], rows)
    text += side_by_side(run) + every_kernel(run, "all")
    return text


def side_by_side(run):
    """The same work by each program."""
    text = ["### The same work by each", ""]
    text += ["Wall time, and in brackets CPU time of all threads. Peak memory is that of the whole process, as the system reports it.", ""]
    timed = lambda wall, cpu: "-" if wall is None else f"{seconds(wall)} ({seconds(cpu)})"
    ours = lambda bench, variant: timed(*(run.ours(bench, bench, variant, key) for key in ("median_ms", "cpu_ms")))
    rows = []
    cold = run.ours("train, cold", "train", "first step, kernels compiled", "median_ms")
    memory = [size(run.memory("seemore", what)) for what in ("train", "decode")]
    rows.append(["seemore", ours("train", "step"), ours("decode", "further token"), ours("decode", "first token"), seconds(cold), *memory])
    for attention in ("math", "sdpa"):
        train = next((entry for entry in torch_cells(run, "train", "train") if entry[0].endswith("/" + attention)), None)
        decode = next((entry for entry in torch_cells(run, "decode", "decode") if entry[0].endswith("/" + attention)), None)
        if not train or not decode:
            continue
        row = [f"PyTorch eager, {attention} attention", timed(train[1]["median_ms"], train[1]["cpu_ms"])]
        row += [timed(decode[1][token]["median_ms"], decode[1][token]["cpu_ms"]) for token in ("further_token", "first_token")]
        rows.append([*row, seconds(train[1]["first_step_ms"]), size(train[2]["peak_rss_bytes"]), size(decode[2]["peak_rss_bytes"])])
    for record in run.of("burn", "train,gen"):
        line = record["lines"][0]
        burn = lambda stats: timed(stats["wall_median_ms"], stats["cpu_median_ms"])
        train, decode = line["train"], line["decode_kv_cache"]
        row = [f"Burn, {line['backend']} backend", burn(train["step"]), burn(decode["per_token"]), burn(decode["first_token"])]
        rows.append([*row, seconds(train["first_step_ms"]), size(train["peak_rss_mib"] * MIB), size(record["peak_rss_bytes"])])
    text += table(["program", "training step", "further token", "first token", "first step, cold", "memory, training", "memory, decoding"], rows)

    rows = []
    for shape in dict.fromkeys(line["case"].split(" ")[0] for line in run.lines("matmul", "matmul")):
        walls = products(run, "matmul", shape, "gflops")
        for layout, (value, form) in products(run, "matmul", shape).items():
            rows.append(["seemore", shape, layout, form, number(walls[layout][0]), number(value)])
    for dtype, cell, _ in torch_cells(run, "matmul", "matmul"):
        rows.append(["PyTorch", cell["shape"], "A B", dtype, number(cell["gflops"]), number(cell["gflops_per_cpu_s"])])
    for record in run.of("burn", "matmul"):
        for cell in record["lines"][0]["matmul"]:
            m, k, n = cell["shape"].split("x")
            rows.append(["Burn", f"{m}x{n}x{k}", "A B", "autotuned", number(cell["gflops_wall"]), number(cell["gflops_per_cpu_s"])])
    text += ["Matrix products A[M, K] B[K, N], sizes MxNxK:", ""]
    text += table(["program", "sizes", "layout", "form", "GFLOP/s", "GFLOP per CPU-second"], rows)
    return text


def every_kernel(run, what):
    rows = []
    for record in run.of("seemore", what)[-1:]:
        for line in record["lines"]:
            low, high = line["spread_ms"]
            figures = [number(line.get(key)) for key in ("gflops", "gflops_per_cpu_s", "gbytes_per_s")]
            timing = f"{seconds(line['median_ms'])} ({number(low)} to {number(high)} ms)"
            rows.append([line["bench"], line["case"], line["variant"], timing, seconds(line["cpu_ms"]), *figures, size(line["peak_gpu_bytes"])])
    if not rows:
        return []
    head = ["bench", "case", "variant", "median (spread)", "CPU time", "GFLOP/s", "GFLOP per CPU-second", "GB/s", "plan"]
    return ["### Everything `seemore bench all` measures", "", "Plan: bytes on the device beside the parameters.", ""] + table(head, rows)


def on_gpu(run):
    """Goals and figures on a GPU."""
    rows = []
    step = lambda precision, size: median(
        line["median_ms"]
        for record in run.of("seemore", f"train {precision}")
        if record.get("size") == size
        for line in record["lines"]
        if line["variant"] == "step"
    )
    sizes = sorted({record["size"] for record in run.records if "size" in record})
    base = 16 if 16 in sizes else min(sizes, default=None)

    def torch(what, part, prefix, batch=None):
        cells = [entry for entry in torch_cells(run, what, part) if entry[0].startswith(prefix)]
        cells = [entry for entry in cells if batch is None or entry[2]["lines"][0]["batch"] == batch]
        return (fastest(cells)[1] or {}).get("median_ms")

    ours, theirs = step("f32", base), torch("train fp32", "train", "compile/fp32", base)
    rows.append(goal("training step, f32", "below torch.compile's at fp32", f"{seconds(ours)} to {seconds(theirs)}", ratio(theirs, ours)))
    ours, theirs = step("f16", base), torch("train bf16", "train", "eager/bf16", base)
    rows.append(goal("training step, f16", "below PyTorch eager's at bf16", f"{seconds(ours)} to {seconds(theirs)}", ratio(theirs, ours)))
    for precision, dtype, percent in (("f32", "fp32", 60), ("f16", "fp16", 50)):
        cublas = next((cell for name, cell, _ in torch_cells(run, f"matmul {dtype}", "matmul") if name == dtype), None)
        shape = cublas["shape"] if cublas else "4096x4096x4096"
        best = products(run, f"matmul {precision}", shape, "gflops")
        value = max(best.values())[0] if best else None
        part = ratio(value, cublas and cublas["gflops"])
        reached = f"{number((value or 0) / 1e3)} TFLOP/s, {number(100 * (part or 0))} %"
        rows.append(goal(f"matrix product {shape}, {precision}", f"at least {percent} % of cuBLAS", reached, ratio(part, percent / 100)))
    text = ["### Goals", ""] + table(["what", "goal", "reached", "goal met", "note"], rows)

    cells = [entry for what in ("fp32", "tf32", "bf16") for entry in torch_cells(run, f"train {what}", "train")]
    cells = [(name, cell) for name, cell, record in cells if record["lines"][0]["batch"] == base]
    rows = [[f"seemore, {precision}", seconds(step(precision, base)), "-"] for precision in ("f32", "f16") if step(precision, base)]
    rows += [[f"PyTorch, {name}", seconds(cell["median_ms"]), size(cell.get("peak_gpu_bytes"))] for name, cell in cells]
    text += [f"### A training step at batch {base}", ""] + table(["program", "step", "memory of the card"], rows)
    head = ["batch", "seemore f32", "seemore f16", "PyTorch eager fp32", "PyTorch eager bf16"]
    rows = [
        [size, seconds(step("f32", size)), seconds(step("f16", size))]
        + [seconds(torch(f"train {dtype}", "train", f"eager/{dtype}", size)) for dtype in ("fp32", "bf16")]
        for size in sizes
    ]
    text += ["### A training step at growing batches", ""] + table(head, rows)
    tokens = [[f"seemore, {p}", seconds(run.ours(f"decode {p}", "decode", "further token", "median_ms"))] for p in ("f32", "f16")]
    for dtype in ("fp32", "bf16"):
        for name, cell, _ in torch_cells(run, f"decode {dtype}", "decode"):
            tokens.append([f"PyTorch eager, {name}", seconds(cell["further_token"]["median_ms"])])
    for record in run.of("burn", "train,gen"):
        tokens.append(["Burn, wgpu backend", seconds(record["lines"][0]["decode_kv_cache"]["per_token"]["wall_median_ms"])])
    text += ["### A decoded token", ""] + table(["program", "time"], tokens)
    return text + every_kernel(run, "all f32")


# what is varied, the name of its axis, and what the cost should grow with, apart from attention
AXES = [
    ("batch", "pictures in a step", lambda value: value, "pictures"),
    ("image", "side of the picture, pixels", lambda value: value**2, "pixels (the side squared)"),
    ("text", "characters of a caption", lambda value: value, "characters"),
]


def growth(run, folder, other=None):
    """How cost grows: tables, exponents and plots. `other` is a second device, for the plots."""
    text = ["## How cost grows", ""]
    times, memories, rows, slopes = [], [], [], []
    for what, label, amount, unit in AXES:
        points = [(record["size"], variant_line(record, "step"), record["peak_rss_bytes"]) for record in run.of("seemore", what)]
        if not points:
            continue
        curve = lambda value: [(x, value(line, rss)) for x, line, rss in points]
        wall, cpu = curve(lambda line, _: line["median_ms"]), curve(lambda line, _: line["cpu_ms"])
        plan, process = curve(lambda line, _: line["peak_gpu_bytes"]), curve(lambda _, rss: rss)
        lines = [("CPU", cpu), ("wall", wall)]
        if other:
            theirs = [(record["size"], variant_line(record, "step")["median_ms"]) for record in other.of("seemore", what)]
            lines = [("the CPU" if "(CPU," in run.machine["adapter"] else "this device", wall), ("software Vulkan" if "(software," in other.machine["adapter"] else "other device", theirs)]
        times.append((f"by {what} size" if what != "text" else "by text length", label, lines))
        memories.append((times[-1][0], label, [("process", process), ("plan", plan)]))
        work = curve(lambda line, _: line["gflops"] * line["median_ms"])
        grown = lambda points: number(plot.exponent([(amount(x), y) for x, y in points]))
        slopes.append([unit, grown(cpu), grown(wall), grown(work), grown(plan), grown(process)])
        for x, line, rss in points:
            row = [label, x, seconds(line["median_ms"]), seconds(line["cpu_ms"]), number(line["gflops_per_cpu_s"])]
            rows.append([*row, size(line["peak_gpu_bytes"]), size(rss)])
    if not times:
        return text + ["Not measured yet.", ""]
    (folder / "scale-time.svg").write_text(plot.figure("Time of a training step", times, lambda ms: seconds(ms)))
    (folder / "scale-memory.svg").write_text(plot.figure("Memory of a training step", memories, lambda count: size(count)))
    text += ["![Time of a training step against batch size, image size and text length](scale-time.svg)", ""]
    text += ["![Memory of a training step against the same](scale-memory.svg)", ""]
    text += ["One training step; what is not varied is the default of `seemore bench train`. The plan is what a step takes on the device"]
    text += ["beside the parameters and the optimizer's moments; the process is everything, which on a software driver includes the device."]
    text += ["Exponents are fitted to the upper half of each curve, against what the cost should be linear in outside attention:", ""]
    text += table(["grows with", "CPU time", "wall time", "arithmetic of the products", "plan", "process"], slopes)
    text += table(["varied", "size", "step", "CPU time", "GFLOP per CPU-second", "plan", "process"], rows)
    return text


# of SmolVLM-256M's shape: a kind of weights, and the goals for first token, tile, prompt and further token in ms, and memory in MB
VLM_GOALS = {
    "f32": (1100, 1000, 110, 17, 1150),
    "bf16": (650, 580, 85, 9.5, 620),
    "q8_0": (650, 550, 80, 8, 400),
    "q4_0": (None, None, None, 5, None),
}
VLM_STEPS = ["first token", "tile", "prompt of 81", "further token"]


def vlm(run):
    """A pretrained model's shape beside its peers."""
    text = ["## A pretrained model's shape: SmolVLM-256M", ""]
    text += ["One picture as one tile of 512 x 512 pixels, a prompt of 81 tokens with its 64 rows, and the 16 tokens after it, with random"]
    text += ["weights that `vlm/make.py` writes. Medians of two processes each; CPU time of all threads in brackets. Memory is the peak of a"]
    text += ["whole process: of seemore that of `seemore caption`, of the others that of the benchmark. OpenVINO and PyTorch begin with"]
    text += ["pixels, llama.cpp with the file of the picture. From bf16 on seemore and OpenVINO round both operands of large products to bf16.", ""]
    rows = []
    for kind, goals in VLM_GOALS.items():
        for of in ("seemore", "llama.cpp", "PyTorch", "OpenVINO"):
            records = run.of(of, f"vlm {kind}")
            if not records:
                continue
            lines = [line for record in records for line in record["lines"]]
            # a line of seemore has a variant, one of a peer says what it measured
            figure = lambda what, key: median(line[key] for line in lines if line.get("variant", line.get("what")) == what)
            cells = []
            for step in VLM_STEPS:
                ms = figure(step, "median_ms")
                cells.append("-" if ms is None else f"{seconds(ms)} ({seconds(figure(step, 'cpu_ms'))})")
            memory = run.memory(of, f"caption {kind}" if of == "seemore" else f"vlm {kind}")
            rows.append([kind, of, *cells, size(memory)])
        wanted = ["" if goal is None else seconds(goal) for goal in goals[:4]]
        rows.append([kind, "goal", *wanted, "" if goals[4] is None else f"{goals[4]} MB"])
    return text + table(["weights", "program", *VLM_STEPS, "memory"], rows)


def about(machine):
    """The machine and the versions of a part."""
    vectors = f" ({', '.join(machine['vectors'])})" if machine.get("vectors") else ""
    rows = [
        ["taken", f"{machine['date']}, load average {' '.join(map(str, machine['load_at_start']))} at the start, of {machine['cores']} cores"],
        ["processor", f"{machine['cpu']}, {machine['cores']} cores{vectors}, {machine['ram_gib']} GiB"],
        ["system", f"{machine['os']}, {machine['kernel']}"],
        ["adapter and driver", machine["adapter"]],
        ["seemore", f"{machine['commit']}, {machine['rustc']}, wgpu {machine['wgpu']}, naga {machine['naga']}"],
        ["command", f"`{machine['command'].strip()}`"],
    ]
    return rows


def section(run, name):
    rows = about(run.machine)
    peers = []
    for record in run.records:
        line = (record.get("lines") or [{}])[0]
        if record["of"] == "pytorch" and "torch" in line:
            peers.append(f"torch {line['torch']}, Python {line['python']}, {line['device']}, {line['threads']} threads")
        if "versions" in line:
            peers.append(", ".join(f"{name} {version}" for name, version in line["versions"].items()))
        if record["of"] == "burn" and line:
            peers.append(f"burn {line['burn']}, {line['compiler']} compiler, {line['adapter']}")
    rows += [["peers", peer] for peer in dict.fromkeys(peers)]
    text = [f"### {name}", ""] if name else []
    if run.machine.get("smoke"):
        text += ["**A smoke run with tiny sizes: these figures mean nothing.**", ""]
    return text + table(["", ""], rows)


def commands(run):
    lines = [record["command"] + (f"   # failed: {record['error'].splitlines()[-1]}" if record.get("error") else "") for record in run.records]
    return ["<details><summary>Every command, in the order of the run</summary>", "", "```", *lines, "```", "", "</details>", ""]


def write(folder):
    read = lambda name: Run(folder / "results" / name) if (folder / "results" / name).exists() else None
    text = ["# Results", "", "Written by `benches/run` from the raw records in `results/`; not edited by hand.", ""]
    native, peers, cards = read("cpu/peers.json"), read("software/peers.json"), read("gpu/gpu.json")
    scales = [run for run in (read("cpu/scale.json"), read("software/scale.json"), read("gpu/scale.json")) if run]
    if cards and "(software," in cards.machine["adapter"] and not cards.machine["smoke"]:
        sys.exit(f"results/gpu/gpu.json is not from a GPU: {cards.machine['adapter']}")
    if any(run and run.machine["smoke"] for run in (native, peers, *scales, cards)):
        text += ["**Parts of this are from a smoke run with tiny sizes, and say so: those figures mean nothing.**", ""]
    if native:
        text += cpu(native) + section(native, "Where and how") + commands(native)
    pretrained = read("cpu/vlm.json")
    if pretrained:
        text += vlm(pretrained) + section(pretrained, "Where and how") + commands(pretrained)
    if peers:
        text += software(peers) + section(peers, "Where and how") + commands(peers)
    text += ["## On a GPU", ""]
    if cards:
        text += on_gpu(cards) + section(cards, "Where and how") + commands(cards)
    else:
        text += ["No GPU was at hand, so no figure here is from one. `benches/gpu` tests and measures on the GPU of the machine it runs on."]
        text += ["Its goals: a training step below torch.compile's at fp32, and below PyTorch eager's at bf16; a matrix product of 4096x4096x4096"]
        text += ["at no less than 60 % of cuBLAS in f32, and 50 % in f16.", ""]
    for run in scales[:1]:
        text += growth(run, folder, scales[1] if len(scales) > 1 else None) + section(run, "Where and how") + commands(run)
    (folder / "RESULTS.md").write_text("\n".join(text).rstrip() + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
