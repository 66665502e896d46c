//! Properties of a model that code for all families needs.

use crate::image::Preprocess;
use crate::nn::AttentionScale;

/// Origin of the image features that the decoder takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageTokens {
    /// One row: the encoder's CLS token.
    Cls,
    /// One row: all patch rows of the encoder, pooled.
    Pooled,
    /// One row per patch, from the encoder.
    Patches,
    /// One row per patch, straight from the pixels: the model has no encoder.
    Pixels,
    /// One row per square of patches, from the encoder.
    Squares {
        /// Number of patches along a side of a square.
        factor: usize,
    },
    /// None: the model takes no pictures.
    None,
}

/// Token of the text whose places the rows of an image take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImagePlaceholder {
    /// Id of the token.
    pub token: u32,
    /// Number of rows, and so of places, of each tile of a picture.
    pub rows: usize,
}

/// Sizes of a stack of transformer blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StackInfo {
    /// Number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Heads of keys and values, of which each serves `heads / kv_heads` heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Factor that attention scores are multiplied by before the softmax.
    pub scale: f32,
}

impl StackInfo {
    /// Returns the bytes of the keys and values of all blocks, cached in f32, for that many
    /// positions.
    pub fn cache_bytes(&self, positions: usize) -> u64 {
        let row = 2 * self.kv_heads * self.head_width;
        4 * (self.layers * row * positions) as u64
    }

    /// Returns the sizes of `layers` blocks, with attention scaled as `scale` says.
    pub fn new(layers: usize, width: usize, heads: usize, scale: AttentionScale) -> StackInfo {
        StackInfo {
            layers,
            width,
            heads,
            kv_heads: heads,
            head_width: width / heads.max(1),
            scale: scale.factor(width, heads),
        }
    }

    /// Returns the multiply-adds of `layers` blocks over `tokens` positions.
    pub fn multiply_adds(&self, layers: usize, tokens: usize) -> f64 {
        layers as f64 * (tokens * (12 * self.width * self.width + 2 * tokens * self.width)) as f64
    }
}

/// Properties of a model, the same for every family.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Preparation of input images: size and cropping.
    pub preprocess: Preprocess,
    /// Side of a square patch, in pixels.
    pub patch_size: usize,
    /// Rows of the encoder in front of the patches: 1 with a CLS token.
    pub cls_tokens: usize,
    /// Blocks of the image encoder; `None` without an encoder.
    pub encoder: Option<StackInfo>,
    /// Blocks of the decoder.
    pub decoder: StackInfo,
    /// Origin of the image features that the decoder takes in.
    pub image_tokens: ImageTokens,
    /// Positions of the decoder in front of the text.
    pub visual_tokens: usize,
    /// Token whose places in the text the image takes, where it does not stand in front.
    pub placeholder: Option<ImagePlaceholder>,
    /// Number of values that the encoder passes on about a tile as a whole: its embedding and the
    /// histogram of its colours; 0 for models that take in none.
    pub whole_values: usize,
    /// Rows that the values of the whole become, the last ones of a tile.
    pub whole_rows: usize,
    /// Whether the decoder adds a vector made from the image to every text position.
    pub conditioned: bool,
    /// Maximum number of positions, visual tokens and text together.
    pub context: usize,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Number of classes of the class head; 0 without one.
    pub classes: usize,
    /// Dropout probability during training.
    pub dropout: f32,
    /// Whether padding after a caption counts in the loss.
    pub count_pads: bool,
    /// Whether an untrained model spreads the probability almost evenly over the vocabulary.
    pub uniform_start: bool,
}

impl ModelInfo {
    /// Side of the square input image, in pixels.
    pub fn image_size(&self) -> usize {
        self.preprocess.side
    }

    /// Whether pictures are encoded in a pass of their own, whose rows serve several prompts. A
    /// picture may then be several tiles.
    pub fn encodes_apart(&self) -> bool {
        matches!(self.image_tokens, ImageTokens::Squares { .. })
    }

    /// Number of rows that the image encoder passes to the projector for a tile, and their width, of
    /// models that [encode apart](Self::encodes_apart); zeros for others. With
    /// [values of the whole](Self::whole_values) it is one row: the values of all patches, and behind
    /// them those of the whole.
    pub fn encoder_row_shape(&self) -> (usize, usize) {
        match (self.image_tokens, self.encoder) {
            (ImageTokens::Squares { factor }, Some(encoder)) => {
                let rows = (self.grid() / factor).pow(2);
                let width = encoder.width * factor * factor;
                match self.whole_values {
                    0 => (rows, width),
                    whole => (1, rows * width + whole),
                }
            }
            _ => (0, 0),
        }
    }

    /// Number of patches along a side of the image.
    pub fn grid(&self) -> usize {
        self.preprocess.side / self.patch_size
    }

    /// Number of patches of an image.
    pub fn patches(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Number of rows that the image encoder works on, CLS token included.
    pub fn encoder_rows(&self) -> usize {
        self.patches() + self.cls_tokens
    }

    /// Number of values in a patch: 3 channels of `patch_size` by `patch_size` pixels.
    pub fn patch_values(&self) -> usize {
        3 * self.patch_size * self.patch_size
    }

    /// Multiply-adds of patch embedding and encoder blocks for one image.
    ///
    /// The last block of a CLS encoder computes only keys and values of all rows, and one row of
    /// the rest.
    pub(super) fn encoder_multiply_adds(&self) -> f64 {
        let Some(stack) = self.encoder else {
            return 0.0;
        };
        let (rows, width) = (self.encoder_rows(), stack.width);
        let patches = (self.patches() * self.patch_values() * width) as f64;
        if self.image_tokens != ImageTokens::Cls || stack.layers == 0 {
            return patches + stack.multiply_adds(stack.layers, rows);
        }
        let last = rows * 2 * width * width + 10 * width * width + 2 * rows * width;
        patches + stack.multiply_adds(stack.layers - 1, rows) + last as f64
    }

    /// Multiply-adds of decoder blocks and output layer for one image with `text` tokens.
    pub(super) fn decoder_multiply_adds(&self, text: usize) -> f64 {
        let stack = self.decoder;
        stack.multiply_adds(stack.layers, self.visual_tokens + text)
            + (text * stack.width * self.vocab_size) as f64
    }
}
