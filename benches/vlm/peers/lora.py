"""PEFT's LoRA step on a model of `make.py`: python lora.py FOLDER f32|bf16 THREADS RUNS. Prints a JSON object a line.

As `seemore bench tune`: rank 8 on all linear layers of the decoder's blocks, texts of 115 tokens of which 34 count, cached
rows of the image encoder, and the head on the rows that count alone.
"""

import json
import resource
import statistics
import sys
import time

import torch

# a file beside this one has the name of a package
sys.path.pop(0)
import transformers
from peft import LoraConfig, __version__ as peft_version, get_peft_model

QUESTION, ANSWER = 17, 34
TARGETS = r".*text_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


def main():
    folder, kind, threads, runs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft_version}
    print(json.dumps({"versions": versions}))
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[kind]
    model = transformers.Idefics3ForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    side, vision = model.config.vision_config.image_size, model.config.vision_config
    patches = (side // vision.patch_size) ** 2
    places = patches // model.config.scale_factor ** 2
    tuned = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS)).train()
    core = tuned.base_model.model
    trained = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    for batch in (1, 4):
        ids = torch.randint(100, 1000, (batch, places + QUESTION + ANSWER))
        ids[:, :places] = model.config.image_token_id
        features = torch.randn(batch, patches, vision.hidden_size, dtype=dtype)
        mask = torch.ones_like(ids)

        def step():
            rows = core.model.connector(features)
            output = core.model(input_ids=ids, attention_mask=mask, image_hidden_states=rows, use_cache=False)
            logits = core.lm_head(output.last_hidden_state[:, -ANSWER - 1 : -1])
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, -ANSWER:].flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        step()
        wall, cpu = [], 0.0
        for _ in range(runs):
            start, used = time.perf_counter(), time.process_time()
            step()
            wall.append(1e3 * (time.perf_counter() - start))
            cpu += 1e3 * (time.process_time() - used)
        what = f"step of {batch} x {ids.shape[1]} positions"
        print(json.dumps({"what": what, "median_ms": statistics.median(wall), "cpu_ms": cpu / runs}), flush=True)
    print(json.dumps({"peak_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


if __name__ == "__main__":
    main()
