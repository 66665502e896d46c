//! Input layer of a vision transformer (Dosovitskiy et al. 2021).

use super::{Context, EMBEDDING_STD, Init, Linear, Parameters};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;

/// Patch embedding with an optional CLS token in front and learned positions.
pub struct PatchEmbedding {
    patch: Linear,
    cls: Option<Tensor>,
    pos: Tensor,
    patch_size: usize,
}

impl PatchEmbedding {
    /// Creates the parameters `cls: [1, 1, width]` if `cls_token`, `pos: [1, rows, width]` and
    /// `patch.weight: [width, 3, patch_size, patch_size]` with its bias, for square images of
    /// `image_size` pixels.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold the parameters.
    pub fn new(
        p: &mut Parameters,
        image_size: usize,
        patch_size: usize,
        width: usize,
        cls_token: bool,
    ) -> Result<PatchEmbedding, DeviceError> {
        let rows = (image_size / patch_size).pow(2) + cls_token as usize;
        Ok(PatchEmbedding {
            cls: cls_token
                .then(|| p.create("cls", &[1, 1, width], Init::Zeros))
                .transpose()?,
            pos: p.create("pos", &[1, rows, width], Init::Normal(EMBEDDING_STD))?,
            patch: Linear::with_shape(p, "patch", &[width, 3, patch_size, patch_size], true)?,
            patch_size,
        })
    }

    /// Maps `image: [batch, 3, side, side]` to `[batch, rows, width]`. `extra: [batch, patches,
    /// width]` is added to the embedded patches.
    ///
    /// Keeps the result and its gradient where the context asks for [patch
    /// gradients](Context::patch_gradients).
    pub fn forward(&self, c: &mut Context, image: Var, extra: Option<Var>) -> Var {
        // ANCHOR: embed
        let pixels = c.tape.patchify(image, self.patch_size);
        let mut x = self.patch.forward(c, pixels);
        if let Some(extra) = extra {
            x = c.tape.add(x, extra);
        }
        if let Some(cls) = &self.cls {
            let cls = c.parameter(cls);
            x = c.tape.concat_rows(cls, x);
        }
        let pos = c.parameter(&self.pos);
        let pos = c.tape.view(pos, &self.pos.shape()[1..]);
        let x = c.tape.add(x, pos);
        // ANCHOR_END: embed
        let x = c.dropout(x);
        if c.patch_gradients {
            c.tape.want_grad(x);
            c.patch_rows = Some(x);
        }
        x
    }
}
