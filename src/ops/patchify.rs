//! Splitting of an image into patches, for the patch embedding.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::rows;
use crate::ops::vector_width::{VectorWidth, vector_width};

static PATCHIFY: VectorWidth =
    vector_width!("patchify"; native: &[("forward", forward), ("backward", backward)]);

impl Tape {
    /// Records `image: [b, ch, h, w]` as patches `[b, (h / patch) * (w / patch), ch * patch *
    /// patch]`.
    ///
    /// Patches are in row-major order, their elements in the order (channel, row, column) of a
    /// convolution's weight.
    #[track_caller]
    pub fn patchify(&mut self, image: Var, patch: usize) -> Var {
        let shape = self.shape(image);
        let &[batch, channels, height, width] = shape else {
            panic!("patchify: {shape:?}, want [b, ch, h, w]")
        };
        assert!(
            height.is_multiple_of(patch) && width.is_multiple_of(patch),
            "patchify: {shape:?} does not divide into patches of {patch} by {patch} pixels"
        );
        let (kernel, patch_cols) = PATCHIFY.of(patch);
        let columns = width / patch * patch_cols;
        let params = [
            ("batch", batch.into()),
            ("channels", channels.into()),
            ("height", height.into()),
            ("width", columns.into()),
            ("patch_rows", patch.into()),
            ("patch_cols", patch_cols.into()),
        ];
        let y = self.output(&[
            batch,
            (height / patch) * (width / patch),
            channels * patch * patch,
        ]);
        self.call(kernel, "forward")
            .bind("image", image)
            .bind("y", y)
            .params(&params)
            .elements(batch * channels * height * columns);
        self.record(y, &[image], move |t, dy| {
            let dimage = t.like(image);
            t.call(kernel, "backward")
                .bind("dy", dy)
                .bind("dimage", dimage)
                .params(&params)
                .elements(batch * channels * height * columns);
            t.add_grad(image, dimage);
        });
        y
    }
}

/// Sizes of an image and its patches, in elements.
struct Sizes {
    channels: usize,
    height: usize,
    width: usize,
    patch: usize,
}

impl Sizes {
    fn of(call: &NativeCall) -> Sizes {
        let patch = call.size("patch_rows");
        Sizes {
            channels: call.size("channels"),
            height: call.size("height"),
            // `width` and `patch_cols` count lanes, patches are square
            width: call.size("width") / call.size("patch_cols") * patch,
            patch,
        }
    }

    /// Returns the number of patches along the height and the width.
    fn patches(&self) -> (usize, usize) {
        (self.height / self.patch, self.width / self.patch)
    }
}

fn forward(call: &NativeCall) {
    let (image, y) = (call.read::<f32>("image"), call.write::<f32>("y"));
    let sizes = Sizes::of(call);
    let (patch, (down, across)) = (sizes.patch, sizes.patches());
    rows(
        call,
        y,
        sizes.channels * patch * patch,
        #[inline(always)]
        |place, y| {
            let (b, r, s) = (place / across / down, place / across % down, place % across);
            for (line, y) in y.chunks_exact_mut(patch).enumerate() {
                let channel = b * sizes.channels + line / patch;
                let row = channel * sizes.height + r * patch + line % patch;
                y.copy_from_slice(&image[row * sizes.width + s * patch..][..patch]);
            }
        },
    );
}

fn backward(call: &NativeCall) {
    let (dy, dimage) = (call.read::<f32>("dy"), call.write::<f32>("dimage"));
    let sizes = Sizes::of(call);
    let (patch, (down, across)) = (sizes.patch, sizes.patches());
    rows(
        call,
        dimage,
        sizes.width,
        #[inline(always)]
        |row, dimage| {
            let (channel, row) = (row / sizes.height, row % sizes.height);
            let (b, c) = (channel / sizes.channels, channel % sizes.channels);
            let first = (b * down + row / patch) * across;
            for (s, dimage) in dimage.chunks_exact_mut(patch).enumerate() {
                let line = ((first + s) * sizes.channels + c) * patch + row % patch;
                dimage.copy_from_slice(&dy[line * patch..][..patch]);
            }
        },
    );
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::ops::check::{Array, Outcome, checks, forward, gradients};

    checks![agrees_with_its_reference];

    fn reference(image: &Array, patch: usize) -> Vec<f64> {
        let &[batch, channels, height, width] = image.shape.as_slice() else {
            unreachable!()
        };
        let mut y = vec![];
        for b in 0..batch {
            for r in 0..height / patch {
                for s in 0..width / patch {
                    for c in 0..channels {
                        for i in 0..patch {
                            for j in 0..patch {
                                y.push(
                                    image.data[((b * channels + c) * height + r * patch + i)
                                        * width
                                        + s * patch
                                        + j],
                                );
                            }
                        }
                    }
                }
            }
        }
        y
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for (patch, height, width) in [
            (1, 1, 1),
            (1, 3, 5),
            (3, 6, 9),
            (4, 8, 4),
            (4, 4, 12),
            (16, 32, 48),
            (5, 5, 10),
        ] {
            for (batch, channels) in [(1, 1), (3, 1), (2, 3)] {
                gradients(
                    device,
                    &[[&[batch, channels, height, width]]],
                    |t, [image]| t.patchify(image, patch),
                    |[image]| reference(image, patch),
                )?;
            }
        }
        forward(
            device,
            &[[&[17_500, 1, 4, 4]]],
            |t, [image]| t.patchify(image, 2),
            |[image]| reference(image, 2),
        )
    }
}
