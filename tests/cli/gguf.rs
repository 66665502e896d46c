//! GGUF files of the recorded SmolVLM, written from its folder.

use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

/// Value of a key.
pub enum Key {
    Size(usize),
    Float(f32),
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
    Kinds(Vec<i32>),
    Floats(Vec<f32>),
}

/// A tensor of 32-bit floats, its shape in row-major order.
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Multiple of bytes that tensors begin at.
const ALIGNMENT: usize = 32;

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn array(bytes: &mut Vec<u8>, kind: u32, count: usize) {
    bytes.extend(9u32.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend((count as u64).to_le_bytes());
}

/// Writes a file of version 3.
pub fn write(path: &Path, keys: &[(&str, Key)], tensors: &[Tensor]) {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((keys.len() as u64).to_le_bytes());
    for (key, value) in keys {
        text(&mut bytes, key);
        match value {
            Key::Size(size) => {
                bytes.extend(4u32.to_le_bytes());
                bytes.extend((*size as u32).to_le_bytes());
            }
            Key::Float(value) => {
                bytes.extend(6u32.to_le_bytes());
                bytes.extend(value.to_le_bytes());
            }
            Key::Flag(flag) => {
                bytes.extend(7u32.to_le_bytes());
                bytes.push(*flag as u8);
            }
            Key::Text(value) => {
                bytes.extend(8u32.to_le_bytes());
                text(&mut bytes, value);
            }
            Key::Texts(values) => {
                array(&mut bytes, 8, values.len());
                values.iter().for_each(|value| text(&mut bytes, value));
            }
            Key::Kinds(values) => {
                array(&mut bytes, 5, values.len());
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            Key::Floats(values) => {
                array(&mut bytes, 6, values.len());
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
    }
    let mut offset = 0;
    for tensor in tensors {
        text(&mut bytes, &tensor.name);
        bytes.extend((tensor.shape.len() as u32).to_le_bytes());
        let sizes = tensor.shape.iter().rev();
        bytes.extend(sizes.flat_map(|size| (*size as u64).to_le_bytes()));
        bytes.extend(0u32.to_le_bytes());
        bytes.extend((offset as u64).to_le_bytes());
        offset += (4 * tensor.values.len()).next_multiple_of(ALIGNMENT);
    }
    for tensor in tensors {
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes.extend(tensor.values.iter().flat_map(|value| value.to_le_bytes()));
    }
    std::fs::write(path, bytes).unwrap();
}

/// Files of a model's folder.
struct Files {
    config: Value,
    tokenizer: Value,
    template: String,
    weights: Vec<u8>,
}

impl Files {
    fn read(folder: &Path) -> Files {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let json = |name: &str| serde_json::from_slice(&read(name)).unwrap();
        Files {
            config: json("config.json"),
            tokenizer: json("tokenizer.json"),
            template: String::from_utf8(read("chat_template.jinja")).unwrap(),
            weights: read("model.safetensors"),
        }
    }

    /// The tensors that `rename` gives a name.
    fn tensors(&self, rename: impl Fn(&str) -> Option<String>) -> Vec<Tensor> {
        let file = SafeTensors::deserialize(&self.weights).unwrap();
        let mut tensors: Vec<Tensor> = file
            .tensors()
            .into_iter()
            .filter_map(|(name, view)| {
                let floats = view.data().as_chunks().0.iter();
                Some(Tensor {
                    name: rename(&name)?,
                    shape: view.shape().to_vec(),
                    values: floats.map(|bytes| f32::from_le_bytes(*bytes)).collect(),
                })
            })
            .collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    }

    /// Tokens in the order of their ids, and their kinds: 1 for plain ones, 3 for special ones.
    fn tokens(&self) -> (Vec<String>, Vec<i32>) {
        let vocabulary = self.tokenizer["model"]["vocab"].as_object().unwrap();
        let mut tokens: Vec<(u64, String, i32)> = vocabulary
            .iter()
            .map(|(token, id)| (id.as_u64().unwrap(), token.clone(), 1))
            .collect();
        for added in self.tokenizer["added_tokens"].as_array().unwrap() {
            let id = added["id"].as_u64().unwrap();
            tokens.retain(|token| token.0 != id);
            tokens.push((id, added["content"].as_str().unwrap().to_owned(), 3));
        }
        tokens.sort_unstable();
        let kinds = tokens.iter().map(|token| token.2).collect();
        (tokens.into_iter().map(|token| token.1).collect(), kinds)
    }
}

fn size(value: &Value) -> Key {
    Key::Size(value.as_u64().unwrap() as usize)
}

fn float(value: &Value) -> Key {
    Key::Float(value.as_f64().unwrap() as f32)
}

/// Renames the last parts of a layer's name.
fn renamed(parts: &[(&str, &str)], layer: &str) -> Option<String> {
    let (number, rest) = layer.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let (_, new) = parts.iter().find(|(old, _)| *old == part)?;
    Some(format!("{number}.{new}.{kind}"))
}

/// Writes the language model of a SmolVLM folder.
pub fn write_text(folder: &Path, path: &Path) {
    let files = Files::read(folder);
    let text = &files.config["text_config"];
    let (tokens, kinds) = files.tokens();
    let merges = files.tokenizer["model"]["merges"].as_array().unwrap();
    let merge = |pair: &Value| {
        let part = |at: usize| pair[at].as_str().unwrap().to_owned();
        format!("{} {}", part(0), part(1))
    };
    let keys = [
        ("general.architecture", Key::Text("llama".into())),
        ("llama.block_count", size(&text["num_hidden_layers"])),
        (
            "llama.context_length",
            size(&text["max_position_embeddings"]),
        ),
        ("llama.embedding_length", size(&text["hidden_size"])),
        (
            "llama.feed_forward_length",
            size(&text["intermediate_size"]),
        ),
        (
            "llama.attention.head_count",
            size(&text["num_attention_heads"]),
        ),
        (
            "llama.attention.head_count_kv",
            size(&text["num_key_value_heads"]),
        ),
        ("llama.attention.key_length", size(&text["head_dim"])),
        ("llama.attention.value_length", size(&text["head_dim"])),
        ("llama.rope.dimension_count", size(&text["head_dim"])),
        (
            "llama.attention.layer_norm_rms_epsilon",
            float(&text["rms_norm_eps"]),
        ),
        (
            "llama.rope.freq_base",
            float(&text["rope_parameters"]["rope_theta"]),
        ),
        ("tokenizer.ggml.model", Key::Text("gpt2".into())),
        ("tokenizer.ggml.pre", Key::Text("smollm".into())),
        ("tokenizer.ggml.tokens", Key::Texts(tokens)),
        ("tokenizer.ggml.token_type", Key::Kinds(kinds)),
        (
            "tokenizer.ggml.merges",
            Key::Texts(merges.iter().map(merge).collect()),
        ),
        ("tokenizer.ggml.eos_token_id", size(&text["eos_token_id"])),
        ("tokenizer.chat_template", Key::Text(files.template.clone())),
    ];
    let mut tensors = files.tensors(|name| {
        match name {
            "lm_head.weight" => return Some("output.weight".into()),
            "model.text_model.embed_tokens.weight" => return Some("token_embd.weight".into()),
            "model.text_model.norm.weight" => return Some("output_norm.weight".into()),
            _ => {}
        }
        let parts = [
            ("input_layernorm", "attn_norm"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("post_attention_layernorm", "ffn_norm"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ];
        let layer = name.strip_prefix("model.text_model.layers.")?;
        renamed(&parts, layer).map(|name| format!("blk.{name}"))
    });
    let head = text["head_dim"].as_u64().unwrap() as usize;
    for tensor in &mut tensors {
        if tensor.name.contains("attn_q.") || tensor.name.contains("attn_k.") {
            interleave(tensor, head);
        }
    }
    write(path, &keys, &tensors);
}

/// Orders the rows of each head as the files do: row `2i + h` is row `h * head / 2 + i`.
fn interleave(tensor: &mut Tensor, head: usize) {
    let width = tensor.shape[1];
    let rows = tensor.values.clone();
    for (to, row) in tensor.values.chunks_mut(width).enumerate() {
        let (first, within) = (to / head * head, to % head);
        let from = first + within % 2 * (head / 2) + within / 2;
        row.copy_from_slice(&rows[from * width..][..width]);
    }
}

/// Writes the image encoder of a SmolVLM folder.
pub fn write_encoder(folder: &Path, path: &Path) {
    let files = Files::read(folder);
    let vision = &files.config["vision_config"];
    let processor = std::fs::read(folder.join("processor_config.json")).unwrap();
    let processor: Value = serde_json::from_slice(&processor).unwrap();
    let processor = &processor["image_processor"];
    let three = |name: &str| {
        let values = processor[name].as_array().unwrap().iter();
        Key::Floats(values.map(|value| value.as_f64().unwrap() as f32).collect())
    };
    let keys = [
        ("general.architecture", Key::Text("clip".into())),
        ("clip.has_vision_encoder", Key::Flag(true)),
        ("clip.projector_type", Key::Text("idefics3".into())),
        ("clip.use_gelu", Key::Flag(true)),
        ("clip.vision.image_size", size(&vision["image_size"])),
        ("clip.vision.patch_size", size(&vision["patch_size"])),
        ("clip.vision.embedding_length", size(&vision["hidden_size"])),
        (
            "clip.vision.feed_forward_length",
            size(&vision["intermediate_size"]),
        ),
        (
            "clip.vision.block_count",
            size(&vision["num_hidden_layers"]),
        ),
        (
            "clip.vision.attention.head_count",
            size(&vision["num_attention_heads"]),
        ),
        (
            "clip.vision.attention.layer_norm_epsilon",
            float(&vision["layer_norm_eps"]),
        ),
        (
            "clip.vision.projector.scale_factor",
            size(&files.config["scale_factor"]),
        ),
        (
            "clip.vision.preproc_image_size",
            size(&processor["size"]["longest_edge"]),
        ),
        ("clip.vision.image_mean", three("image_mean")),
        ("clip.vision.image_std", three("image_std")),
    ];
    let tensors = files.tensors(|name| {
        if name == "model.connector.modality_projection.proj.weight" {
            return Some("mm.model.fc.weight".into());
        }
        let name = name.strip_prefix("model.vision_model.")?;
        let (layer, kind) = name.rsplit_once('.')?;
        let single = match layer {
            "embeddings.patch_embedding" => Some("patch_embd"),
            "embeddings.position_embedding" => Some("position_embd"),
            "post_layernorm" => Some("post_ln"),
            _ => None,
        };
        if let Some(single) = single {
            return Some(format!("v.{single}.{kind}"));
        }
        let parts = [
            ("layer_norm1", "ln1"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.out_proj", "attn_out"),
            ("layer_norm2", "ln2"),
            ("mlp.fc1", "ffn_up"),
            ("mlp.fc2", "ffn_down"),
        ];
        let layer = name.strip_prefix("encoder.layers.")?;
        renamed(&parts, layer).map(|name| format!("v.blk.{name}"))
    });
    write(path, &keys, &tensors);
}
