"""PyTorch's figures of a model of `make.py`: python transformers.py FOLDER f32|bf16 THREADS RUNS. Prints a JSON object a line."""

import json
import statistics
import sys
import time

import torch

# this file has the name of the package
sys.path.pop(0)
import transformers

TEXT, NEW = 17, 16


def measured(what, runs, run, before=lambda: None, of=1):
    """Medians of wall time, and the mean CPU time of all threads, after one run that does not count."""
    run(before())
    wall, cpu = [], 0.0
    for _ in range(runs):
        given = before()
        start, used = time.perf_counter(), time.process_time()
        run(given)
        wall.append(1e3 * (time.perf_counter() - start) / of)
        cpu += 1e3 * (time.process_time() - used) / of
    print(json.dumps({"what": what, "median_ms": statistics.median(wall), "cpu_ms": cpu / runs}), flush=True)


@torch.inference_mode()
def main():
    folder, kind, threads, runs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    print(json.dumps({"versions": {"torch": torch.__version__, "transformers": transformers.__version__}}))
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[kind]
    model = transformers.Idefics3ForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval()
    side = model.config.vision_config.image_size
    pixels = torch.randn(1, 1, 3, side, side).clamp(-1, 1).to(dtype)
    mask = torch.ones(1, 1, side, side, dtype=torch.bool)
    places = (side // model.config.vision_config.patch_size // model.config.scale_factor) ** 2
    prompt = torch.randint(100, 1000, (1, places + TEXT))
    prompt[0, :places] = model.config.image_token_id
    ones = torch.ones(1, places + TEXT + NEW, dtype=torch.long)

    def start(pictures={}):
        return model(input_ids=prompt, attention_mask=ones[:, : prompt.shape[1]], use_cache=True, logits_to_keep=1, **pictures)

    def further(output):
        for count in range(NEW):
            token = output.logits[:, -1:].argmax(-1)
            seen = ones[:, : prompt.shape[1] + count + 1]
            output = model(input_ids=token, attention_mask=seen, cache=output.cache, use_cache=True)

    measured("first token", runs, lambda _: start({"pixel_values": pixels, "pixel_attention_mask": mask}))
    measured("tile", runs, lambda _: model.model.get_image_features(pixels, mask))
    rows = model.model.get_image_features(pixels, mask)
    rows = getattr(rows, "pooler_output", rows)
    given = {"image_hidden_states": torch.cat(list(rows)) if isinstance(rows, (tuple, list)) else rows}
    measured(f"prompt of {prompt.shape[1]}", runs, lambda _: start(given))
    measured("further token", runs, further, lambda: start(given), NEW)


main()
