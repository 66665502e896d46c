//! Vision transformer of pretrained models (Dosovitskiy et al. 2021; Zhai et al. 2023, SigLIP;
//! Radford et al. 2021, CLIP).

use serde::{Deserialize, Serialize};

use super::fields::Fields;
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;
use crate::models::ConfigError;
use crate::nn::{
    Context, EMBEDDING_STD, Init, LayerAttention, LayerNorm, Linear, Parameters, Part, Stream,
};
use crate::ops::{Activation, Attention};

/// Sizes and arithmetic of a vision transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisionConfig {
    /// Side of the square input, in pixels.
    pub image_size: usize,
    /// Side of a square patch, in pixels.
    pub patch_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width between the two layers of the feed-forward network.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Attention heads of a block.
    pub num_attention_heads: usize,
    /// Epsilon of the LayerNorms.
    pub layer_norm_eps: f32,
    /// Activation of the feed-forward networks, by its name in Hugging Face's files.
    pub hidden_act: VisionActivation,
}

/// Activation between the layers of a feed-forward network, by its name in Hugging Face's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisionActivation {
    /// Exact GELU.
    Gelu,
    /// GELU's tanh approximation.
    GeluPytorchTanh,
    /// `x * sigmoid(1.702 x)`, as in CLIP.
    QuickGelu,
}

impl VisionActivation {
    fn op(self) -> Activation {
        match self {
            VisionActivation::Gelu => Activation::Gelu,
            VisionActivation::GeluPytorchTanh => Activation::GeluTanh,
            VisionActivation::QuickGelu => Activation::QuickGelu,
        }
    }
}

impl VisionConfig {
    /// Reads the fields of a `vision_config` of Hugging Face. Absent ones take the values of
    /// `defaults`, where it has one.
    pub(crate) fn from_huggingface(
        fields: &Fields,
        defaults: &VisionConfig,
    ) -> Result<VisionConfig, ConfigError> {
        fields.same("num_channels", 3usize)?;
        Ok(VisionConfig {
            image_size: fields.size("image_size", Some(defaults.image_size))?,
            patch_size: fields.size("patch_size", Some(defaults.patch_size))?,
            hidden_size: fields.size("hidden_size", Some(defaults.hidden_size))?,
            intermediate_size: fields
                .size("intermediate_size", Some(defaults.intermediate_size))?,
            num_hidden_layers: fields
                .size("num_hidden_layers", Some(defaults.num_hidden_layers))?,
            num_attention_heads: fields
                .size("num_attention_heads", Some(defaults.num_attention_heads))?,
            layer_norm_eps: fields.float("layer_norm_eps", Some(defaults.layer_norm_eps as f64))?
                as f32,
            hidden_act: fields.value("hidden_act", Some(defaults.hidden_act))?,
        })
    }

    /// Checks that the tower can be built; `path` is where its fields stand in the file.
    pub(crate) fn check(&self, path: &str) -> Result<(), ConfigError> {
        let field = |name: &str, value: usize, rule: &str| {
            Err(ConfigError::field(&format!("{path}{name}"), value, rule))
        };
        if self.patch_size == 0 || !self.image_size.is_multiple_of(self.patch_size) {
            return field("patch_size", self.patch_size, "it must divide image_size");
        }
        let heads = self.num_attention_heads;
        if heads == 0 || !self.hidden_size.is_multiple_of(heads) {
            return field("num_attention_heads", heads, "it must divide hidden_size");
        }
        let width = self.hidden_size / heads;
        if width > 128 {
            return field(
                "hidden_size",
                self.hidden_size,
                "attention heads may be at most 128 wide",
            );
        }
        Ok(())
    }

    /// Patches along a side.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Number of patches.
    pub fn patches(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Multiply-adds of the products for one image; `extra` rows stand beside the patches.
    pub fn multiply_adds(&self, extra: usize) -> f64 {
        let (rows, width) = (self.patches() + extra, self.hidden_size);
        let embedding = self.patches() * 3 * self.patch_size * self.patch_size * width;
        let block = rows * width * (4 * width + 2 * self.intermediate_size + 2 * rows);
        (embedding + self.num_hidden_layers * block) as f64
    }
}

/// Names of a vision transformer's tensors in a family's files. All begin at the root.
#[derive(Debug, Clone, Copy)]
pub struct VisionNames {
    /// Convolution over patches, without `.weight`.
    pub patch: &'static str,
    /// Whether it has a bias.
    pub patch_bias: bool,
    /// Positions: the whole name of the tensor.
    pub positions: &'static str,
    /// Shape of the positions: with a leading axis of length 1.
    pub positions_batched: bool,
    /// CLS token in front of the patches, and the LayerNorm before the first block.
    pub class: Option<[&'static str; 2]>,
    /// Blocks, without their number.
    pub blocks: &'static str,
    /// First LayerNorm of a block.
    pub norm1: &'static str,
    /// Query, key and value of a block: three names, or one of a fused layer.
    pub qkv: &'static [&'static str],
    /// Output layer of the attention.
    pub out: &'static str,
    /// Second LayerNorm of a block.
    pub norm2: &'static str,
    /// Layers of the feed-forward network.
    pub mlp: [&'static str; 2],
    /// Last LayerNorm, if the rows are normalised.
    pub norm: Option<&'static str>,
}

struct Block {
    path: String,
    norm1: LayerNorm,
    qkv: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

/// Encoder of images: patches, blocks with full attention, and a last LayerNorm.
pub struct VisionTransformer {
    config: VisionConfig,
    patch: Linear,
    positions: Tensor,
    class: Option<(Tensor, LayerNorm)>,
    blocks: Vec<Block>,
    norm: Option<LayerNorm>,
}

impl VisionTransformer {
    /// Creates the layers.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold the parameters.
    pub fn new(
        p: &mut Parameters,
        config: &VisionConfig,
        names: &VisionNames,
    ) -> Result<VisionTransformer, DeviceError> {
        let (width, eps) = (config.hidden_size, config.layer_norm_eps);
        let side = config.patch_size;
        let patch = Linear::with_shape(p, names.patch, &[width, 3, side, side], names.patch_bias)?;
        let rows = config.patches() + names.class.is_some() as usize;
        let shape: &[usize] = match names.positions_batched {
            true => &[1, rows, width],
            false => &[rows, width],
        };
        let init = Init::Normal(EMBEDDING_STD);
        let positions = p.create(names.positions, shape, init)?;
        let class = names
            .class
            .map(|[token, norm]| -> Result<_, DeviceError> {
                Ok((
                    p.create(token, &[width], init)?,
                    LayerNorm::new(p, norm, width, eps)?,
                ))
            })
            .transpose()?;
        let block = |p: &mut Parameters, layer: usize| {
            p.scope(format!("{}.{layer}", names.blocks), |p| {
                let each = 3 * width / names.qkv.len();
                let qkv: Vec<(&str, usize)> = names.qkv.iter().map(|&name| (name, each)).collect();
                Ok(Block {
                    path: p.path(),
                    norm1: LayerNorm::new(p, names.norm1, width, eps)?,
                    qkv: Linear::group(p, &qkv, width, true)?,
                    out: Linear::new(p, names.out, width, width, true)?,
                    norm2: LayerNorm::new(p, names.norm2, width, eps)?,
                    fc1: Linear::new(p, names.mlp[0], width, config.intermediate_size, true)?,
                    fc2: Linear::new(p, names.mlp[1], config.intermediate_size, width, true)?,
                })
            })
        };
        Ok(VisionTransformer {
            config: config.clone(),
            patch,
            positions,
            class,
            blocks: (0..config.num_hidden_layers)
                .map(|layer| block(p, layer))
                .collect::<Result<_, DeviceError>>()?,
            norm: names
                .norm
                .map(|norm| LayerNorm::new(p, norm, width, eps))
                .transpose()?,
        })
    }

    /// Maps images `[n, 3, side, side]` to the rows after the last block, `[n, rows, width]`,
    /// normalised if there is a last LayerNorm. A CLS token is row 0.
    pub fn forward(&self, c: &mut Context, image: Var) -> Var {
        self.forward_past(c, image, self.blocks.len()).1
    }

    /// Maps images to the rows after `layers` blocks, as they are, and to those of
    /// [`forward`](Self::forward).
    pub fn forward_past(&self, c: &mut Context, image: Var, layers: usize) -> (Var, Var) {
        let pixels = c.tape.patchify(image, self.config.patch_size);
        let mut x = self.patch.forward(c, pixels);
        if let Some((token, _)) = &self.class {
            let token = c.parameter(token);
            let token = c.tape.view(token, &[1, 1, self.config.hidden_size]);
            x = c.tape.concat_rows(token, x);
        }
        let positions = c.parameter(&self.positions);
        let rows = &c.tape.shape(x)[1..].to_vec();
        let positions = c.tape.view(positions, rows);
        let mut x = c.tape.add(x, positions);
        c.keep(|| "vision.embeddings".into(), x);
        if c.patch_gradients {
            c.tape.want_grad(x);
            c.patch_rows = Some(x);
        }
        if let Some((_, norm)) = &self.class {
            x = norm.forward(c, x);
            c.keep(|| "vision.pre_layernorm".into(), x);
        }
        let mut stream = Stream::from(x);
        let mut passed = x;
        for (layer, block) in self.blocks.iter().enumerate() {
            if layer + 1 == self.blocks.len() && c.name_logits.is_some() {
                let rows = stream.value(c);
                c.last_block_rows = Some(rows);
                stream = Stream::from(rows);
            }
            stream = c.segment(stream, |c, x| self.block(c, block, x));
            stream = c.keep_stream(|| format!("vision.layer{layer}"), stream);
            if layer + 1 == layers && layers < self.blocks.len() {
                passed = stream.value(c);
                stream = Stream::from(passed);
            }
        }
        let last = self.normed(c, stream);
        (
            if layers < self.blocks.len() {
                passed
            } else {
                last
            },
            last,
        )
    }

    /// Maps the input rows of the last block `[n, rows, width]` to the rows after it, as
    /// [`forward`](Self::forward) returns them.
    ///
    /// # Panics
    /// Without blocks.
    pub fn last_block(&self, c: &mut Context, rows: Var) -> Var {
        let block = self.blocks.last().expect("an encoder has blocks");
        let stream = self.block(c, block, Stream::from(rows));
        self.normed(c, stream)
    }

    fn block(&self, c: &mut Context, block: &Block, stream: Stream) -> Stream {
        let (heads, activation) = (self.config.num_attention_heads, self.config.hidden_act);
        block.forward(c, stream, heads, activation)
    }

    /// Applies the last LayerNorm, if there is one.
    fn normed(&self, c: &mut Context, stream: Stream) -> Var {
        match &self.norm {
            Some(norm) => stream.norm(c, norm).1,
            None => stream.value(c),
        }
    }
}

impl Block {
    fn forward(
        &self,
        c: &mut Context,
        stream: Stream,
        heads: usize,
        activation: VisionActivation,
    ) -> Stream {
        let (x, normed) = stream.norm(c, &self.norm1);
        let qkv = self.qkv.forward(c, normed);
        if c.value_gradients {
            c.tape.want_grad(qkv);
            c.value_rows = Some(qkv);
        }
        let width = c.tape.shape(x)[2] / heads;
        let spec = Attention {
            heads,
            kv_heads: heads,
            scale: (width as f64).powf(-0.5) as f32,
            causal: false,
            dropout: 0.0,
            rounded: self.qkv.is_packed(),
        };
        let attended = c.tape.attention(qkv, qkv, c.past, c.seed, &spec);
        if let Some(maps) = &mut c.maps {
            let map = c.tape.attention_probabilities(qkv, qkv, c.past, &spec);
            c.tape.hold(map);
            maps.push(LayerAttention {
                layer: self.path.clone(),
                part: Part::Encoder,
                probabilities: map,
            });
        }
        let branch = self.out.forward(c, attended);
        let (x, normed) = Stream::new(x, branch).norm(c, &self.norm2);
        let hidden = self.fc1.activated(c, normed, activation.op());
        let branch = self.fc2.forward(c, hidden);
        Stream::new(x, branch)
    }
}
