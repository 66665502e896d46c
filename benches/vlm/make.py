"""Writes models of SmolVLM's true shapes with random weights, as Hugging Face's and llama.cpp's programs write them.

    python make.py WEIGHTS DEST [--size 256M|500M] [--types f32,bf16,...]

WEIGHTS is the folder of `make weights`, whose SmolLM2 gives the tokenizer. For every type DEST/SIZE-TYPE holds a folder of Hugging Face
(f32, f16, bf16), and DEST/SIZE-TYPE-gguf the same weights as GGUF, text.gguf and mmproj.gguf (also q8_0, q4_0).
"""

import argparse
import json
import pathlib

import gguf
import numpy as np
from safetensors.numpy import save_file

SHAPES = {
    "256M": dict(width=576, hidden=1536, layers=30, heads=9, keys=3),
    "500M": dict(width=960, hidden=2560, layers=32, heads=15, keys=5),
}
VISION = dict(width=768, hidden=3072, layers=12, heads=12, side=512, patch=16)
SCALE, BASE_VOCAB = 4, 49152
PLACES = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
ADDED = ["<global-img>", *PLACES, "<fake_token_around_image>", "<image>", *(f"<|reserved_special_token_{i}|>" for i in range(88)), "<end_of_utterance>"]
VOCAB = BASE_VOCAB + len(ADDED)
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}{% if message['content'][0]['type'] == 'image' %}{{':'}}"
    "{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def shapes(text):
    """Names and shapes of all tensors."""
    width, hidden = VISION["width"], VISION["hidden"]
    tower = "model.vision_model."
    yield tower + "embeddings.patch_embedding.weight", (width, 3, VISION["patch"], VISION["patch"])
    yield tower + "embeddings.patch_embedding.bias", (width,)
    yield tower + "embeddings.position_embedding.weight", ((VISION["side"] // VISION["patch"]) ** 2, width)
    for layer in range(VISION["layers"]):
        block = f"{tower}encoder.layers.{layer}."
        for name, rows, columns in [
            ("self_attn.q_proj", width, width), ("self_attn.k_proj", width, width), ("self_attn.v_proj", width, width),
            ("self_attn.out_proj", width, width), ("mlp.fc1", hidden, width), ("mlp.fc2", width, hidden),
        ]:
            yield f"{block}{name}.weight", (rows, columns)
            yield f"{block}{name}.bias", (rows,)
        for norm in ["layer_norm1", "layer_norm2"]:
            yield f"{block}{norm}.weight", (width,)
            yield f"{block}{norm}.bias", (width,)
    yield tower + "post_layernorm.weight", (width,)
    yield tower + "post_layernorm.bias", (width,)
    yield "model.connector.modality_projection.proj.weight", (text["width"], width * SCALE**2)
    yield "model.text_model.embed_tokens.weight", (VOCAB, text["width"])
    width, hidden, keys = text["width"], text["hidden"], 64 * text["keys"]
    for layer in range(text["layers"]):
        block = f"model.text_model.layers.{layer}."
        for name, rows, columns in [
            ("self_attn.q_proj", width, width), ("self_attn.k_proj", keys, width), ("self_attn.v_proj", keys, width),
            ("self_attn.o_proj", width, width), ("mlp.gate_proj", hidden, width), ("mlp.up_proj", hidden, width), ("mlp.down_proj", width, hidden),
        ]:
            yield f"{block}{name}.weight", (rows, columns)
        yield block + "input_layernorm.weight", (width,)
        yield block + "post_attention_layernorm.weight", (width,)
    yield "model.text_model.norm.weight", (width,)
    yield "lm_head.weight", (VOCAB, width)


def draw(text):
    random = np.random.default_rng(1)
    for name, shape in shapes(text):
        if "norm" in name and name.endswith("weight"):
            values = np.ones(shape, np.float32)
        else:
            columns = int(np.prod(shape[1:])) or 1
            scale = 0.02 if len(shape) == 1 else columns**-0.5
            values = (random.standard_normal(shape, np.float32) * scale).astype(np.float32)
        yield name, values


def bf16(values):
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def save_bf16(tensors, path):
    """The `safetensors` package has no bf16 for numpy: its file format is written here."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [offset, offset + 2 * values.size]}
        offset += 2 * values.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            file.write(bf16(values).tobytes())


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def tokenizer(weights):
    file = json.loads((weights / "smollm2-135m-instruct/tokenizer.json").read_text(encoding="utf-8"))
    special = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    file["added_tokens"] += [dict(id=BASE_VOCAB + i, content=name, **special) for i, name in enumerate(ADDED)]
    return file


def folder(path, weights, text, tensors, kind):
    path.mkdir(parents=True, exist_ok=True)
    write_json(path / "config.json", {
        "architectures": ["Idefics3ForConditionalGeneration"], "model_type": "idefics3", "image_token_id": VOCAB - 90, "scale_factor": SCALE,
        "tie_word_embeddings": False, "torch_dtype": kind,
        "vision_config": {
            "model_type": "idefics3_vision", "hidden_size": VISION["width"], "intermediate_size": VISION["hidden"], "image_size": VISION["side"],
            "patch_size": VISION["patch"], "num_hidden_layers": VISION["layers"], "num_attention_heads": VISION["heads"],
        },
        "text_config": {
            "model_type": "llama", "vocab_size": VOCAB, "hidden_size": text["width"], "intermediate_size": text["hidden"], "head_dim": 64,
            "num_hidden_layers": text["layers"], "num_attention_heads": text["heads"], "num_key_value_heads": text["keys"], "hidden_act": "silu",
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "tie_word_embeddings": False,
        },
    })
    write_json(path / "preprocessor_config.json", {
        "image_processor_type": "Idefics3ImageProcessor", "do_convert_rgb": True, "do_image_splitting": True, "do_normalize": True, "do_pad": True,
        "do_rescale": True, "do_resize": True, "resample": 1, "rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        "max_image_size": {"longest_edge": VISION["side"]}, "size": {"longest_edge": 2048},
    })
    write_json(path / "generation_config.json", {"bos_token_id": 1, "eos_token_id": VOCAB - 1, "pad_token_id": 2})
    write_json(path / "tokenizer_config.json", {"bos_token": "<|im_start|>", "eos_token": "<end_of_utterance>", "pad_token": "<|im_end|>"})
    write_json(path / "chat_template.json", {"chat_template": TEMPLATE})
    write_json(path / "tokenizer.json", tokenizer(weights))
    if kind == "bfloat16":
        save_bf16(tensors, path / "model.safetensors")
    else:
        dtype = {"float32": np.float32, "float16": np.float16}[kind]
        save_file({name: values.astype(dtype) for name, values in tensors.items()}, path / "model.safetensors", metadata={"format": "pt"})


TEXT_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
VISION_NAMES = {
    "layer_norm1": "ln1", "layer_norm2": "ln2", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down",
}
ENDS = {
    "model.vision_model.embeddings.patch_embedding": "v.patch_embd", "model.vision_model.embeddings.position_embedding": "v.position_embd",
    "model.vision_model.post_layernorm": "v.post_ln", "model.connector.modality_projection.proj": "mm.model.fc",
    "model.text_model.embed_tokens": "token_embd", "model.text_model.norm": "output_norm", "lm_head": "output",
}


def gguf_name(name):
    base, kind = name.rsplit(".", 1)
    if base in ENDS:
        return f"{ENDS[base]}.{kind}"
    place, parts = base.split("layers.")
    layer, part = parts.split(".", 1)
    names, prefix = (VISION_NAMES, "v.blk") if "vision" in place else (TEXT_NAMES, "blk")
    return f"{prefix}.{layer}.{names[part]}.{kind}"


def interleaved(values, heads):
    """The halves of each head, row by row in turn: as llama.cpp rotates them."""
    return values.reshape(heads, 2, -1, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)


def ggufs(dest, size, weights, text, tensors, kind):
    types = {"f32": gguf.GGMLQuantizationType.F32, "f16": gguf.GGMLQuantizationType.F16, "bf16": gguf.GGMLQuantizationType.BF16,
             "q8_0": gguf.GGMLQuantizationType.Q8_0, "q4_0": gguf.GGMLQuantizationType.Q4_0}
    file_types = {"f32": 0, "f16": 1, "bf16": 32, "q8_0": 7, "q4_0": 2}
    dest = dest / f"{size}-{kind}-gguf"
    dest.mkdir(parents=True, exist_ok=True)
    language = gguf.GGUFWriter(str(dest / "text.gguf"), "llama")
    language.add_block_count(text["layers"])
    language.add_context_length(8192)
    language.add_embedding_length(text["width"])
    language.add_feed_forward_length(text["hidden"])
    language.add_head_count(text["heads"])
    language.add_head_count_kv(text["keys"])
    language.add_layer_norm_rms_eps(1e-5)
    language.add_rope_freq_base(100000.0)
    language.add_rope_dimension_count(64)
    language.add_vocab_size(VOCAB)
    language.add_file_type(file_types[kind])
    file = tokenizer(weights)
    names = {index: token for token, index in file["model"]["vocab"].items()}
    names |= {token["id"]: token["content"] for token in file["added_tokens"]}
    control = {token["id"] for token in file["added_tokens"]}
    language.add_tokenizer_model("gpt2")
    language.add_tokenizer_pre("smollm")
    language.add_token_list([names[index] for index in range(VOCAB)])
    language.add_token_types([3 if index in control else 1 for index in range(VOCAB)])
    merges = file["model"]["merges"]
    language.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    language.add_bos_token_id(1)
    language.add_eos_token_id(VOCAB - 1)
    language.add_pad_token_id(2)
    language.add_add_bos_token(False)
    language.add_chat_template(TEMPLATE)

    tower = gguf.GGUFWriter(str(dest / "mmproj.gguf"), "clip")
    tower.add_bool("clip.has_vision_encoder", True)
    tower.add_string("clip.projector_type", "idefics3")
    tower.add_bool("clip.use_gelu", True)
    tower.add_uint32("clip.vision.image_size", VISION["side"])
    # pictures stay one tile
    tower.add_uint32("clip.vision.preproc_image_size", VISION["side"])
    tower.add_uint32("clip.vision.patch_size", VISION["patch"])
    tower.add_uint32("clip.vision.embedding_length", VISION["width"])
    tower.add_uint32("clip.vision.feed_forward_length", VISION["hidden"])
    tower.add_uint32("clip.vision.block_count", VISION["layers"])
    tower.add_uint32("clip.vision.attention.head_count", VISION["heads"])
    tower.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    tower.add_uint32("clip.vision.projection_dim", text["width"])
    tower.add_uint32("clip.vision.projector.scale_factor", SCALE)
    tower.add_array("clip.vision.image_mean", [0.5] * 3)
    tower.add_array("clip.vision.image_std", [0.5] * 3)
    tower.add_file_type(file_types[kind])

    for name, values in tensors.items():
        writer = tower if "vision" in name or "connector" in name else language
        if "q_proj" in name and writer is language:
            values = interleaved(values, text["heads"])
        if "k_proj" in name and writer is language:
            values = interleaved(values, text["keys"])
        plain = values.ndim == 1 or "embedding" in name
        wanted = types["f32"] if plain else types[kind]
        if kind == "q4_0" and name in ("model.text_model.embed_tokens.weight", "lm_head.weight"):
            wanted = types["q8_0"]
        data = values if wanted == types["f32"] else gguf.quantize(values, wanted)
        writer.add_tensor(gguf_name(name), data, raw_dtype=wanted)
    for writer in (language, tower):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=pathlib.Path)
    parser.add_argument("dest", type=pathlib.Path)
    parser.add_argument("--size", choices=SHAPES, default="256M")
    parser.add_argument("--types", default="f32,f16,bf16,q8_0,q4_0")
    args = parser.parse_args()
    args.dest.mkdir(parents=True, exist_ok=True)
    text = SHAPES[args.size]
    tensors = dict(draw(text))
    kinds = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
    for kind in args.types.split(","):
        if kind in kinds:
            folder(args.dest / f"{args.size}-{kind}", args.weights, text, tensors, kinds[kind])
        ggufs(args.dest, args.size, args.weights, text, tensors, kind)
        print(args.size, kind)


if __name__ == "__main__":
    main()
