//! Llama-type decoder (Touvron et al. 2023): RMSNorm, rotary positions, grouped-query attention and
//! a gated feed-forward network.

use serde::{Deserialize, Serialize};

use super::fields::Fields;
use crate::device::DeviceError;
use crate::graph::Var;
use crate::models::{Caches, ConfigError};
use crate::nn::{
    Context, EMBEDDING_STD, Embedding, GatedMlp, GroupedAttention, GroupedHeads, Init, Linear,
    Parameters, RmsNorm, Rotary, RotaryScaling, Stream,
};

/// Sizes and arithmetic of a decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width between the layers of the feed-forward network.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads of a block.
    pub num_attention_heads: usize,
    /// Key/value heads of a block.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Maximum number of positions.
    pub max_position_embeddings: usize,
    /// Epsilon of the normalisations.
    pub rms_norm_eps: f32,
    /// Base of the rotations' wavelengths.
    pub rope_theta: f64,
    /// Change of the rotations for long contexts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RotaryScaling>,
    /// Whether the output layer is the table of embeddings.
    pub tie_word_embeddings: bool,
    /// Whether the attention's layers have biases.
    pub attention_bias: bool,
    /// Whether the feed-forward network's layers have biases.
    pub mlp_bias: bool,
}

impl DecoderConfig {
    /// Reads the fields of a Llama `config.json`, or of the `text_config` of a larger model.
    /// `tied` is what holds where they do not say.
    pub(crate) fn from_huggingface(
        fields: &Fields,
        tied: bool,
    ) -> Result<DecoderConfig, ConfigError> {
        fields.same("hidden_act", "silu".to_owned())?;
        fields.same("rope_interleaved", false)?;
        fields.same("qk_layer_norms", false)?;
        let heads = fields.size("num_attention_heads", None)?;
        let width = fields.size("hidden_size", None)?;
        let (rope_theta, rope_scaling) = rotation(fields)?;
        Ok(DecoderConfig {
            vocab_size: fields.size("vocab_size", None)?,
            hidden_size: width,
            intermediate_size: fields.size("intermediate_size", None)?,
            num_hidden_layers: fields.size("num_hidden_layers", None)?,
            num_attention_heads: heads,
            num_key_value_heads: fields.size("num_key_value_heads", Some(heads))?,
            head_dim: fields.size("head_dim", Some(width / heads.max(1)))?,
            max_position_embeddings: fields.size("max_position_embeddings", Some(2048))?,
            rms_norm_eps: fields.float("rms_norm_eps", Some(1e-6))? as f32,
            rope_theta,
            rope_scaling,
            tie_word_embeddings: fields.flag("tie_word_embeddings", tied)?,
            attention_bias: fields.flag("attention_bias", false)?,
            mlp_bias: fields.flag("mlp_bias", false)?,
        })
    }

    /// Checks that the decoder can be built; `path` is where its fields stand in the file.
    pub(crate) fn check(&self, path: &str) -> Result<(), ConfigError> {
        let field = |name: &str, value: usize, rule: &str| {
            Err(ConfigError::field(&format!("{path}{name}"), value, rule))
        };
        let (heads, keys) = (self.num_attention_heads, self.num_key_value_heads);
        if keys == 0 || !heads.is_multiple_of(keys) {
            return field(
                "num_key_value_heads",
                keys,
                "it must divide num_attention_heads",
            );
        }
        if self.head_dim == 0 || self.head_dim > 128 || !self.head_dim.is_multiple_of(2) {
            return field("head_dim", self.head_dim, "it must be even and at most 128");
        }
        Ok(())
    }

    /// Heads of a block.
    pub fn heads(&self) -> GroupedHeads {
        GroupedHeads {
            queries: self.num_attention_heads,
            keys: self.num_key_value_heads,
            width: self.head_dim,
        }
    }

    /// Multiply-adds of the products for `tokens` positions, of which `outputs` have logits.
    pub fn multiply_adds(&self, tokens: usize, outputs: usize) -> f64 {
        let width = self.hidden_size;
        let queries = self.num_attention_heads * self.head_dim;
        let keys = self.num_key_value_heads * self.head_dim;
        let block = width * (2 * queries + 2 * keys + 3 * self.intermediate_size);
        let attention = 2 * queries * tokens.div_ceil(2);
        (self.num_hidden_layers * tokens * (block + attention) + outputs * width * self.vocab_size)
            as f64
    }
}

/// Returns the base of the rotations' wavelengths and their scaling, from the form of transformers
/// 5 (`rope_parameters`) or the earlier one (`rope_theta`, `rope_scaling`).
fn rotation(fields: &Fields) -> Result<(f64, Option<RotaryScaling>), ConfigError> {
    let parameters = fields.object("rope_parameters")?;
    let theta = match &parameters {
        Some(parameters) => parameters.float("rope_theta", Some(10_000.0))?,
        None => fields.float("rope_theta", Some(10_000.0))?,
    };
    let scaling = match parameters {
        Some(parameters) => Some(parameters),
        None => fields.object("rope_scaling")?,
    };
    let Some(scaling) = scaling else {
        return Ok((theta, None));
    };
    let named = match scaling.has("rope_type") {
        true => "rope_type",
        false => "type",
    };
    let kind: String = scaling.value(named, Some("default".to_owned()))?;
    let scaling = match kind.as_str() {
        "default" => None,
        "linear" => Some(RotaryScaling::Linear {
            factor: scaling.float("factor", None)?,
        }),
        "llama3" => Some(RotaryScaling::Llama3 {
            factor: scaling.float("factor", None)?,
            low_freq_factor: scaling.float("low_freq_factor", None)?,
            high_freq_factor: scaling.float("high_freq_factor", None)?,
            original_max_position_embeddings: scaling
                .size("original_max_position_embeddings", None)?,
        }),
        other => {
            return Err(scaling.wrong(
                named,
                other,
                "only the rotations `default`, `linear` and `llama3` are known",
            ));
        }
    };
    Ok((theta, scaling))
}

/// Names of a decoder's tensors in a family's files. All begin at the root.
#[derive(Debug, Clone, Copy)]
pub struct DecoderNames {
    /// Table of embeddings, without `.weight`.
    pub embedding: &'static str,
    /// Blocks, without their number.
    pub blocks: &'static str,
    /// First normalisation of a block.
    pub norm1: &'static str,
    /// Query, key, value and output layers of a block's attention.
    pub attention: [&'static str; 4],
    /// Second normalisation of a block.
    pub norm2: &'static str,
    /// Feed-forward network of a block, with layers `gate_proj`, `up_proj` and `down_proj`.
    pub mlp: &'static str,
    /// Last normalisation.
    pub norm: &'static str,
    /// Output layer.
    pub head: &'static str,
}

impl DecoderNames {
    /// Returns the names of the embeddings and the output layer, if they are the same matrix.
    pub(in crate::models) fn tied(&self, config: &DecoderConfig) -> Option<(String, String)> {
        let name = |layer: &str| format!("{layer}.weight");
        let tied = config.tie_word_embeddings;
        tied.then(|| (name(self.embedding), name(self.head)))
    }
}

impl DecoderNames {
    /// Regular expression of the names of all linear layers of the blocks.
    pub(in crate::models) fn adapter_targets(&self) -> String {
        let mlp = ["gate_proj", "up_proj", "down_proj"].map(|name| format!("{}.{name}", self.mlp));
        let layers: Vec<&str> = self
            .attention
            .into_iter()
            .chain(mlp.iter().map(String::as_str))
            .collect();
        let pattern = format!("{}.\\d+.({})", self.blocks, layers.join("|"));
        pattern.replace('.', "\\.")
    }
}

struct Block {
    norm1: RmsNorm,
    attention: GroupedAttention,
    norm2: RmsNorm,
    mlp: GatedMlp,
}

/// Decoder-only language model.
pub struct Decoder {
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    head: Linear,
}

impl Decoder {
    /// Creates the layers.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold the parameters.
    pub fn new(
        p: &mut Parameters,
        config: &DecoderConfig,
        names: &DecoderNames,
    ) -> Result<Decoder, DeviceError> {
        let (width, eps) = (config.hidden_size, config.rms_norm_eps);
        let rotary = Rotary::new(
            p,
            config.max_position_embeddings,
            config.head_dim,
            config.rope_theta,
            config.rope_scaling,
        )?;
        let init = Init::Normal(EMBEDDING_STD);
        let embedding = Embedding::new(p, names.embedding, config.vocab_size, width, init)?;
        let block = |p: &mut Parameters, layer: usize| {
            p.scope(format!("{}.{layer}", names.blocks), |p| {
                Ok(Block {
                    norm1: RmsNorm::new(p, names.norm1, width, eps)?,
                    attention: GroupedAttention::new(
                        p,
                        names.attention,
                        width,
                        config.heads(),
                        &rotary,
                        config.attention_bias,
                    )?,
                    norm2: RmsNorm::new(p, names.norm2, width, eps)?,
                    mlp: p.scope(names.mlp, |p| {
                        GatedMlp::new(p, width, config.intermediate_size, config.mlp_bias)
                    })?,
                })
            })
        };
        let blocks = (0..config.num_hidden_layers)
            .map(|layer| block(p, layer))
            .collect::<Result<_, DeviceError>>()?;
        Ok(Decoder {
            blocks,
            norm: RmsNorm::new(p, names.norm, width, eps)?,
            head: match config.tie_word_embeddings {
                true => Linear::tied(embedding.weight().clone()),
                false => Linear::head(p, names.head, width, config.vocab_size)?,
            },
            embedding,
        })
    }

    /// Maps token ids `[batch, t]` to their embeddings, `[batch, t, width]`.
    pub fn embed(&self, c: &mut Context, ids: Var) -> Var {
        self.embedding.forward(c, ids)
    }

    /// Maps embeddings `[batch, t, width]` to normalised states of the same shape. With caches,
    /// keys and values of all new positions are appended to them.
    pub fn forward(&self, c: &mut Context, x: Var, caches: Option<&Caches>) -> Var {
        let mut stream = Stream::from(x);
        for (layer, block) in self.blocks.iter().enumerate() {
            let cache = caches.map(|caches| &caches.layers()[layer]);
            let skips_map = c.last_map_only && layer + 1 < self.blocks.len();
            let maps = if skips_map { c.maps.take() } else { None };
            stream = c.segment(stream, |c, stream| {
                let (x, normed) = stream.rms_norm(c, &block.norm1);
                let branch = block.attention.forward(c, normed, cache);
                let (x, normed) = Stream::new(x, branch).rms_norm(c, &block.norm2);
                let branch = block.mlp.forward(c, normed);
                Stream::new(x, branch)
            });
            if skips_map {
                c.maps = maps;
            }
            stream = c.keep_stream(|| format!("text.layer{layer}"), stream);
        }
        let (_, normed) = stream.rms_norm(c, &self.norm);
        c.keep(|| "text.norm".into(), normed);
        normed
    }

    /// Maps states `[.., width]` to logits `[.., vocab]`.
    pub fn output(&self, c: &mut Context, x: Var) -> Var {
        self.head.forward(c, x)
    }
}
