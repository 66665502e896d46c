//! Models in GGUF files: a language model in one, its image encoder in another (`mmproj`).

use std::path::{Path, PathBuf};

use super::{CheckpointError, Gguf, GgufTensor, WeightFiles};
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
    /// with the architecture `clip` beside it.
    ///
    /// # Errors
    /// A file that is no GGUF, or a folder in which it is not clear what belongs together.
    pub(in crate::models) fn open(path: &Path) -> Result<GgufModel, CheckpointError> {
        let folder = match path.is_dir() {
            true => path,
            false => path.parent().unwrap_or(Path::new("")),
        };
        let (mut texts, mut encoders) = (vec![], vec![]);
        for file in gguf_files(folder)? {
            if !path.is_dir() && file.file_name() != path.file_name() && !is_encoder_name(&file) {
                continue;
            }
            let file = Gguf::open(&file)?;
            match file.text("general.architecture")? {
                "clip" => encoders.push(file),
                _ => texts.push(file),
            }
        }
        let several = |files: &[Gguf], what: &'static str| CheckpointError::Several {
            path: folder.display().to_string(),
            what,
            names: super::folder::listed(
                files.iter().map(Gguf::path).collect::<Vec<_>>().into_iter(),
            ),
        };
        if texts.len() > 1 {
            return Err(several(&texts, "language models"));
        }
        if encoders.len() > 1 {
            return Err(several(&encoders, "image encoders"));
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
            quantize,
        )
    }
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

/// Returns the model's name of a tensor, and the rows of a head whose halves are interleaved in the
/// file.
fn name(tensor: &GgufTensor, text: &str, head: usize) -> Option<(String, Option<usize>)> {
    let parts: Vec<&str> = tensor.name().split('.').collect();
    let plain = |name: String| Some((name, None));
    match parts[..] {
        ["token_embd", "weight"] => plain(format!("{text}.embed_tokens.weight")),
        ["output_norm", "weight"] => plain(format!("{text}.norm.weight")),
        ["output", "weight"] => plain("lm_head.weight".into()),
        ["blk", layer, part, kind] => {
            let part = match part {
                "attn_norm" => "input_layernorm",
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "ffn_norm" => "post_attention_layernorm",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                _ => return None,
            };
            let rotated = ["self_attn.q_proj", "self_attn.k_proj"].contains(&part);
            let name = format!("{text}.layers.{layer}.{part}.{kind}");
            Some((name, rotated.then_some(head)))
        }
        ["v", "patch_embd", kind] => plain(format!(
            "model.vision_model.embeddings.patch_embedding.{kind}"
        )),
        ["v", "position_embd", "weight"] => {
            plain("model.vision_model.embeddings.position_embedding.weight".into())
        }
        ["v", "post_ln", kind] => plain(format!("model.vision_model.post_layernorm.{kind}")),
        ["mm", "model", "fc", "weight"] => {
            plain("model.connector.modality_projection.proj.weight".into())
        }
        ["v", "blk", layer, part, kind] => {
            let part = match part {
                "ln1" => "layer_norm1",
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_out" => "self_attn.out_proj",
                "ln2" => "layer_norm2",
                "ffn_up" => "mlp.fc1",
                "ffn_down" => "mlp.fc2",
                _ => return None,
            };
            plain(format!(
                "model.vision_model.encoder.layers.{layer}.{part}.{kind}"
            ))
        }
        _ => None,
    }
}
