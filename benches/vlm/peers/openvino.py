"""OpenVINO's figures of a model of `make.py`: python openvino.py FOLDER f32|bf16 THREADS RUNS. Prints a JSON object a line.

The encoder and the decoder over the whole prompt are converted from PyTorch. Further tokens are not measured: that takes a model with a cache
among its states, as Optimum makes it.
"""

import json
import statistics
import sys
import time

import torch

# this file has the name of the package
sys.path.pop(0)
import openvino
import transformers

TEXT = 17


class Tile(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.vision, self.connector = model.model.vision_model, model.model.connector

    def forward(self, pixels):
        return self.connector(self.vision(pixel_values=pixels).last_hidden_state)


class Prompt(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.text, self.head = model.model.text_model, model.lm_head

    def forward(self, inputs_embeds):
        length = inputs_embeds.shape[1]
        # given, since the code that would make it cannot be converted
        mask = torch.ones(length, length, dtype=torch.bool).tril()[None, None]
        states = self.text(inputs_embeds=inputs_embeds, attention_mask=mask, use_cache=False).last_hidden_state
        return self.head(states[:, -1])


def measured(what, runs, run):
    """Medians of wall time, and the mean CPU time of all threads, after one run that does not count."""
    run()
    wall, cpu = [], 0.0
    for _ in range(runs):
        start, used = time.perf_counter(), time.process_time()
        run()
        wall.append(1e3 * (time.perf_counter() - start))
        cpu += 1e3 * (time.process_time() - used)
    print(json.dumps({"what": what, "median_ms": statistics.median(wall), "cpu_ms": cpu / runs}), flush=True)


@torch.inference_mode()
def main():
    folder, kind, threads, runs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    print(json.dumps({"versions": {"openvino": openvino.__version__.split("-")[0]}}))
    model = transformers.Idefics3ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    config, text = model.config.vision_config, model.config.text_config
    pixels = torch.randn(1, 3, config.image_size, config.image_size).clamp(-1, 1)
    places = (config.image_size // config.patch_size // model.config.scale_factor) ** 2
    embeddings = torch.randn(1, places + TEXT, text.hidden_size)
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32" if kind == "f32" else "bf16"}

    def compiled(module, example):
        converted = openvino.convert_model(module, example_input=example)
        return core.compile_model(converted, "CPU", settings).create_infer_request()

    tile, prompt = compiled(Tile(model), pixels), compiled(Prompt(model), embeddings)
    del model
    pixels, embeddings = pixels.numpy(), embeddings.numpy()

    def first():
        embeddings[0, :places] = tile.infer([pixels])[0].reshape(places, -1)
        prompt.infer([embeddings])

    measured("first token", runs, first)
    measured("tile", runs, lambda: tile.infer([pixels]))
    measured(f"prompt of {places + TEXT}", runs, lambda: prompt.infer([embeddings]))


main()
