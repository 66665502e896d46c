//! Relevance of each patch to the name that a composition gives a picture.

use crate::device::{Device, DeviceError, Plan};
use crate::graph::Var;
use crate::models::Model;
use crate::nn::Context;

/// A recorded pass of the image encoder over a picture, and back from the logit of a name to the
/// values that patches pass to the CLS row in the encoder's last block.
///
/// Only that row becomes the embedding that names are told apart by. In the blocks before, what
/// patches know of the picture is spread over rows far from where it was, so that relevance of the
/// patch embeddings says less about the picture.
pub(crate) struct NameRelevancePass {
    plan: Plan,
    image: Var,
    /// Gradient of the names' logits, `[1, names]`.
    wanted: Var,
    /// Queries, keys and values, `[1, 1 + patches, 3 * width]`.
    rows: Var,
    gradient: Var,
}

impl NameRelevancePass {
    /// Records the pass for the names of a set.
    ///
    /// # Errors
    /// Insufficient device memory for the pass.
    ///
    /// # Panics
    /// With a model that has no such set.
    pub(crate) fn new(
        device: &Device,
        model: &Model,
        set: usize,
    ) -> Result<NameRelevancePass, DeviceError> {
        let side = model.info().image_size();
        let mut tape = model.tape(device);
        let image = tape.input(&[1, 3, side, side]);
        let mut c = Context::inference(&mut tape);
        c.value_gradients = true;
        c.name_logits = Some(vec![]);
        model.encode(&mut c, image);
        let rows = c.value_rows.expect("a pretrained encoder has blocks");
        let sets = c.name_logits.take().unwrap_or_default();
        let shape = tape.shape(sets[set]).to_vec();
        let wanted = tape.input(&shape);
        tape.backward(sets[set], wanted);
        let gradient = tape
            .grad(rows)
            .expect("the embedding depends on the last block");
        tape.hold(rows);
        tape.hold(gradient);
        Ok(NameRelevancePass {
            plan: Plan::new(device, tape)?,
            image,
            wanted,
            rows,
            gradient,
        })
    }

    /// Returns the share of each patch, row by row, in the logit of a name for a tile
    /// `[3, side, side]`, normalised: the sum of gradient times value over the patch's values, which
    /// is to first order what the logit would lose without them (Shrikumar et al. 2016). Negative
    /// sums count as 0; the shares sum to 1.
    ///
    /// # Errors
    /// A failed device.
    pub(crate) fn run(&self, tile: &[f32], name: usize) -> Result<Vec<f32>, DeviceError> {
        let mut wanted = vec![0f32; self.plan.shape(self.wanted).iter().product()];
        wanted[name] = 1.0;
        self.plan.write(self.image, tile);
        self.plan.write(self.wanted, &wanted);
        let gradient: Vec<f32> = self.plan.run_and_read(self.gradient)?;
        let rows: Vec<f32> = self.plan.read(self.rows)?;
        let width = *self.plan.shape(self.rows).last().unwrap_or(&3);
        let product = |(row, gradient): (&[f32], &[f32])| {
            let values = row.iter().zip(gradient).skip(width / 3 * 2);
            values.map(|(x, g)| x * g).sum::<f32>().max(0.0)
        };
        // the CLS row is no patch
        let products = rows.chunks(width).zip(gradient.chunks(width)).skip(1);
        let products: Vec<f32> = products.map(product).collect();
        let total = products.iter().sum::<f32>().max(f32::MIN_POSITIVE);
        Ok(products.iter().map(|x| x / total).collect())
    }
}
