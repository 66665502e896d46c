//! Models in GGUF files: a language model in one, its image encoder in another (`mmproj`).

use std::path::{Path, PathBuf};

use super::impostor::unmask;
use super::{
    CheckpointError, Gguf, GgufError, GgufTensor, IMAGE_ENCODERS, LANGUAGE_MODELS, WeightFiles,
};
use crate::models::pretrained::{DecoderConfig, VisionActivation, VisionConfig};
use crate::models::{ConfigError, ModelConfig, llama, smolvlm};
use crate::nn::RotaryScaling;
use crate::ops::Encoding;

/// Token whose places the rows of a picture take in models of the Idefics3 kind.
const PLACEHOLDER: &str = "<image>";

/// The files of a model.
pub(in crate::models) struct GgufModel {
    text: Gguf,
    vision: Option<Gguf>,
}

impl GgufModel {
    /// Opens the files of a model: a file, or the ones in a folder. The image encoder is the file
    /// that is named, else the one with the architecture `clip` beside the model.
    ///
    /// # Errors
    /// A file that is no GGUF, or a folder in which it is not clear what belongs together.
    pub(in crate::models) fn open(
        path: &Path,
        named: Option<&Path>,
    ) -> Result<GgufModel, CheckpointError> {
        let folder = match path.is_dir() {
            true => path,
            false => path.parent().unwrap_or(Path::new("")),
        };
        let (mut texts, mut encoders) = (vec![], vec![]);
        for file in gguf_files(folder)? {
            if !path.is_dir() && file.file_name() != path.file_name() && !is_encoder_name(&file) {
                continue;
            }
            let file = open(&file)?;
            match is_encoder(&file)? {
                true => encoders.push(file),
                false => texts.push(file),
            }
        }
        if let Some(named) = named {
            let file = open(named)?;
            if !is_encoder(&file)? {
                let path = named.display().to_string();
                return Err(CheckpointError::NotAnEncoder { path });
            }
            encoders = vec![file];
        }
        let several = |files: &[Gguf], what: &'static str| CheckpointError::Several {
            path: folder.display().to_string(),
            what,
            names: super::folder::listed(
                files.iter().map(Gguf::path).collect::<Vec<_>>().into_iter(),
            ),
        };
        if texts.len() > 1 {
            return Err(several(&texts, LANGUAGE_MODELS));
        }
        if encoders.len() > 1 && !texts.is_empty() {
            return Err(several(&encoders, IMAGE_ENCODERS));
        }
        match texts.pop() {
            Some(text) => Ok(GgufModel {
                text,
                vision: encoders.pop(),
            }),
            None => Err(CheckpointError::EncoderAlone {
                path: path.display().to_string(),
            }),
        }
    }

    /// Returns the configuration that the files describe.
    ///
    /// # Errors
    /// An unknown architecture, or a key that is absent or wrong.
    pub(in crate::models) fn config(&self) -> Result<ModelConfig, CheckpointError> {
        let text = decoder(&self.text)?;
        let Some(vision) = &self.vision else {
            return Ok(llama::Config { text }.into());
        };
        let (vision, scale_factor) = encoder(vision)?;
        let tokens = self.text.texts("tokenizer.ggml.tokens")?;
        let place = tokens.iter().position(|token| token == PLACEHOLDER);
        let Some(image_token_id) = place else {
            return Err(CheckpointError::Mismatch {
                path: self.text.path().to_owned(),
                name: "tokenizer.ggml.tokens".into(),
                have: format!("has no token {PLACEHOLDER}"),
                want: "one for the places of pictures: the two files do not belong together".into(),
            });
        };
        Ok(smolvlm::Config {
            vision,
            text,
            scale_factor,
            image_token_id: image_token_id as u32,
        }
        .into())
    }

    /// Returns the file of the language model, which also holds the tokenizer.
    pub(in crate::models) fn text(&self) -> &Gguf {
        &self.text
    }

    /// Returns the file of the image encoder, if there is one.
    pub(in crate::models) fn vision(&self) -> Option<&Gguf> {
        self.vision.as_ref()
    }

    /// Returns the weights under the names of the model.
    ///
    /// # Errors
    /// A tensor that the model does not have.
    pub(in crate::models) fn weights(
        self,
        quantize: Option<Encoding>,
    ) -> Result<WeightFiles, CheckpointError> {
        let head = decoder(&self.text)?.head_dim;
        let prefix = match &self.vision {
            Some(_) => "model.text_model",
            None => "model",
        };
        let files = [Some(self.text), self.vision].into_iter().flatten();
        WeightFiles::of_gguf(
            files.collect(),
            |tensor| name(tensor, prefix, head),
            |name| stored_name(name, prefix),
            quantize,
        )
    }
}

/// Opens a file, and says what it is if it is no GGUF.
fn open(path: &Path) -> Result<Gguf, CheckpointError> {
    Gguf::open(path).map_err(|error| match error {
        GgufError::NotGguf { .. } => unmask(path).unwrap_or(error.into()),
        error => error.into(),
    })
}

/// Whether a file holds an image encoder.
fn is_encoder(file: &Gguf) -> Result<bool, GgufError> {
    Ok(file.text("general.architecture")? == "clip")
}

/// GGUF files of a folder, in the order of their names.
fn gguf_files(folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let folder = match folder == Path::new("") {
        true => Path::new("."),
        false => folder,
    };
    let entries = std::fs::read_dir(folder).map_err(|reason| CheckpointError::Read {
        path: folder.display().to_string(),
        reason,
    })?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_gguf(path) && path.is_file())
        .collect();
    files.sort_unstable();
    Ok(files)
}

/// Whether a path has the ending of GGUF files.
pub(super) fn is_gguf(path: &Path) -> bool {
    let ending = path.extension();
    ending.is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}

/// Whether a folder has GGUF files.
pub(super) fn has_gguf(folder: &Path) -> bool {
    gguf_files(folder).is_ok_and(|files| !files.is_empty())
}

/// Whether a file is called as image encoders are.
fn is_encoder_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.to_ascii_lowercase().contains("mmproj")
}

/// Returns an error about the value of a key.
fn wrong(file: &Gguf, key: &str, rule: &str) -> CheckpointError {
    let value = file.metadata(key).map(ToString::to_string);
    CheckpointError::Config(ConfigError::File {
        path: file.path().to_owned(),
        error: Box::new(ConfigError::field(key, value.unwrap_or_default(), rule)),
    })
}

/// Reads the sizes of the language model.
fn decoder(file: &Gguf) -> Result<DecoderConfig, CheckpointError> {
    let architecture = file.text("general.architecture")?;
    if architecture != "llama" {
        return Err(CheckpointError::Config(ConfigError::File {
            path: file.path().to_owned(),
            error: Box::new(ConfigError::Architecture {
                model_type: architecture.to_owned(),
            }),
        }));
    }
    let size = |key: &str| file.size(&format!("llama.{key}"));
    let optional = |key: &str, default: usize| match file.metadata(&format!("llama.{key}")) {
        Some(_) => size(key),
        None => Ok(default),
    };
    let (width, heads) = (size("embedding_length")?, size("attention.head_count")?);
    if heads == 0 {
        let rule = "it must be at least 1";
        return Err(wrong(file, "llama.attention.head_count", rule));
    }
    let head_dim = optional("attention.key_length", width / heads)?;
    for key in ["attention.value_length", "rope.dimension_count"] {
        if optional(key, head_dim)? != head_dim {
            let rule = format!("it must be {head_dim}, the width of a head");
            return Err(wrong(file, &format!("llama.{key}"), &rule));
        }
    }
    let embedding = file.tensor("token_embd.weight")?;
    let scaling = match file.metadata("llama.rope.scaling.type") {
        None => None,
        Some(_) => match file.text("llama.rope.scaling.type")? {
            "none" => None,
            "linear" => Some(RotaryScaling::Linear {
                factor: file.float("llama.rope.scaling.factor")?,
            }),
            _ => {
                let rule = "only the scalings `none` and `linear` are known";
                return Err(wrong(file, "llama.rope.scaling.type", rule));
            }
        },
    };
    Ok(DecoderConfig {
        vocab_size: embedding.rows(),
        hidden_size: width,
        intermediate_size: size("feed_forward_length")?,
        num_hidden_layers: size("block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: optional("attention.head_count_kv", heads)?,
        head_dim,
        max_position_embeddings: size("context_length")?,
        rms_norm_eps: file.float("llama.attention.layer_norm_rms_epsilon")? as f32,
        rope_theta: match file.metadata("llama.rope.freq_base") {
            Some(_) => file.float("llama.rope.freq_base")?,
            None => 10_000.0,
        },
        rope_scaling: scaling,
        tie_word_embeddings: file.tensor("output.weight").is_err(),
        attention_bias: file.tensor("blk.0.attn_q.bias").is_ok(),
        mlp_bias: false,
    })
}

/// Reads the sizes of the image encoder, and the side of the squares of patches that become a row.
fn encoder(file: &Gguf) -> Result<(VisionConfig, usize), CheckpointError> {
    let kind = file.text("clip.projector_type")?;
    if kind != "idefics3" {
        let rule = "only the projector `idefics3`, of SmolVLM, is known";
        return Err(wrong(file, "clip.projector_type", rule));
    }
    let gelu = match file.metadata("clip.use_gelu") {
        Some(_) => file.flag("clip.use_gelu")?,
        None => false,
    };
    if !gelu {
        return Err(wrong(file, "clip.use_gelu", "it must be true for SmolVLM"));
    }
    let size = |key: &str| file.size(&format!("clip.vision.{key}"));
    let vision = VisionConfig {
        image_size: size("image_size")?,
        patch_size: size("patch_size")?,
        hidden_size: size("embedding_length")?,
        intermediate_size: size("feed_forward_length")?,
        num_hidden_layers: size("block_count")?,
        num_attention_heads: size("attention.head_count")?,
        layer_norm_eps: file.float("clip.vision.attention.layer_norm_epsilon")? as f32,
        hidden_act: VisionActivation::GeluPytorchTanh,
    };
    Ok((vision, size("projector.scale_factor")?))
}

/// Names of the layers of a decoder's block, in the file and in the model.
const TEXT_BLOCK: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Names of the layers of an image encoder's block, in the file and in the model.
const VISION_BLOCK: &[(&str, &str)] = &[
    ("ln1", "layer_norm1"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_out", "self_attn.out_proj"),
    ("ln2", "layer_norm2"),
    ("ffn_up", "mlp.fc1"),
    ("ffn_down", "mlp.fc2"),
];

/// Names of the other layers of an image encoder, in the file and in the model.
const VISION: &[(&str, &str)] = &[
    (
        "v.patch_embd",
        "model.vision_model.embeddings.patch_embedding",
    ),
    (
        "v.position_embd",
        "model.vision_model.embeddings.position_embedding",
    ),
    ("v.post_ln", "model.vision_model.post_layernorm"),
    ("mm.model.fc", "model.connector.modality_projection.proj"),
];

/// Blocks of an image encoder in the model.
const VISION_BLOCKS: &str = "model.vision_model.encoder.layers";

/// Names of the other layers of a decoder, in the file and in the model.
fn text_layers(prefix: &str) -> [(&'static str, String); 3] {
    [
        ("token_embd", format!("{prefix}.embed_tokens")),
        ("output_norm", format!("{prefix}.norm")),
        ("output", "lm_head".to_owned()),
    ]
}

/// Returns the model's name of a tensor, and the rows of a head whose halves are interleaved in the
/// file.
fn name(tensor: &GgufTensor, text: &str, head: usize) -> Option<(String, Option<usize>)> {
    let (layer, kind) = tensor.name().rsplit_once('.')?;
    let ours = |names: &[(&str, &'static str)], layer: &str| {
        let found = names.iter().find(|(theirs, _)| *theirs == layer);
        found.map(|(_, ours)| *ours)
    };
    if let Some((_, ours)) = text_layers(text)
        .iter()
        .find(|(theirs, _)| *theirs == layer)
    {
        return Some((format!("{ours}.{kind}"), None));
    }
    if let Some(ours) = ours(VISION, layer) {
        return Some((format!("{ours}.{kind}"), None));
    }
    if let Some((block, part)) = layer
        .strip_prefix("blk.")
        .and_then(|rest| rest.split_once('.'))
    {
        let rotated = matches!(part, "attn_q" | "attn_k");
        let name = format!("{text}.layers.{block}.{}.{kind}", ours(TEXT_BLOCK, part)?);
        return Some((name, rotated.then_some(head)));
    }
    let (block, part) = layer.strip_prefix("v.blk.")?.split_once('.')?;
    let part = ours(VISION_BLOCK, part)?;
    Some((format!("{VISION_BLOCKS}.{block}.{part}.{kind}"), None))
}

/// Returns the name in the file of a tensor of the model, and the index of the file: 0 for the
/// language model, 1 for the image encoder.
fn stored_name(name: &str, text: &str) -> Option<(String, usize)> {
    let (layer, kind) = name.rsplit_once('.')?;
    let theirs = |names: &[(&'static str, &str)], layer: &str| {
        let found = names.iter().find(|(_, ours)| *ours == layer);
        found.map(|(theirs, _)| *theirs)
    };
    if let Some((theirs, _)) = text_layers(text).iter().find(|(_, ours)| ours == layer) {
        return Some((format!("{theirs}.{kind}"), 0));
    }
    if let Some(theirs) = theirs(VISION, layer) {
        return Some((format!("{theirs}.{kind}"), 1));
    }
    let block = |blocks: &str| {
        let rest = layer.strip_prefix(blocks)?.strip_prefix('.')?;
        rest.split_once('.')
    };
    if let Some((block, part)) = block(&format!("{text}.layers")) {
        let part = theirs(TEXT_BLOCK, part)?;
        return Some((format!("blk.{block}.{part}.{kind}"), 0));
    }
    let (block, part) = block(VISION_BLOCKS)?;
    let part = theirs(VISION_BLOCK, part)?;
    Some((format!("v.blk.{block}.{part}.{kind}"), 1))
}
