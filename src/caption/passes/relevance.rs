//! Relevance of each patch to a token: gradient times input.

use super::pictures::Pictures;
use crate::device::{Device, DeviceError, Plan};
use crate::graph::Var;
use crate::models::{Logits, Model};
use crate::nn::Context;

/// A recorded pass over one picture and a text, and back from a token's logit to the patch
/// embeddings, or to the picture's encoded rows for models that [encode
/// apart](crate::models::ModelInfo::encodes_apart).
///
/// It explains models whose decoder does not attend to patches, where attention maps say nothing
/// about them.
pub struct RelevancePass {
    plan: Plan,
    pictures: Pictures,
    ids: Var,
    logits: Wanted,
    /// Patch embeddings as the encoder's blocks take them in, or encoded rows as the decoder does.
    rows: Var,
    gradient: Var,
    /// Whether `rows` are encoded ones.
    encoded: bool,
    /// Decoder positions before the text.
    front: usize,
    length: usize,
    vocab: usize,
}

/// Gradient of the logits.
enum Wanted {
    /// `[1, length, vocab]`: those of the whole text are computed.
    Text(Var),
    /// `[1, 1, vocab]`, and `[1]`, the position of the only ones that are computed. Those of a large
    /// vocabulary take memory and time.
    Row(Var, Var),
}

impl RelevancePass {
    /// Records the pass for texts of at most `length` tokens, of which `image_rows` are places for
    /// rows of a picture.
    ///
    /// # Errors
    /// Insufficient device memory for the pass.
    ///
    /// # Panics
    /// With a model that has no image encoder, or without rows for one whose texts have places for
    /// them.
    pub fn new(
        device: &Device,
        model: &Model,
        length: usize,
        image_rows: usize,
    ) -> Result<RelevancePass, DeviceError> {
        let info = model.info();
        let mut tape = model.tape(device);
        let pictures = Pictures::new(&mut tape, info, 1, image_rows).expect("texts with a picture");
        if let Some(rows) = pictures.rows() {
            tape.want_grad(rows);
        }
        let ids = tape.input(&[1, length]);
        let row = info.encodes_apart().then(|| tape.input(&[1]));
        let mut c = Context::inference(&mut tape);
        c.patch_gradients = true;
        let features = pictures.features(&mut c, model);
        let at = row.map_or(Logits::Text, Logits::Rows);
        let logits = model.decode(&mut c, Some(features), ids, None, at);
        let patches = c.patch_rows;
        let rows = pictures.rows().or(patches);
        let rows = rows.expect("a model with an encoder has patch rows");
        let shape = tape.shape(logits).to_vec();
        let wanted = tape.input(&shape);
        tape.backward(logits, wanted);
        let gradient = tape
            .grad(rows)
            .expect("the logits depend on the patch rows");
        tape.hold(rows);
        tape.hold(gradient);
        Ok(RelevancePass {
            plan: Plan::new(device, tape)?,
            pictures,
            ids,
            logits: match row {
                Some(row) => Wanted::Row(wanted, row),
                None => Wanted::Text(wanted),
            },
            rows,
            gradient,
            encoded: info.encodes_apart(),
            front: info.visual_tokens,
            length,
            vocab: info.vocab_size,
        })
    }

    /// Returns the share of each patch, row by row, or of each encoded row, in the logit of `token`
    /// after `text`: the sum over the row of gradient times value, which is to first order what the
    /// logit would lose without it (Shrikumar et al. 2016). Negative sums count as 0; the shares sum
    /// to 1.
    ///
    /// `image` is the normalised picture `[3, side, side]`, or its encoded rows `[rows, width]`.
    ///
    /// # Errors
    /// A failed device.
    ///
    /// # Panics
    /// With an empty text, or one longer than the pass was recorded for.
    pub fn run(&self, image: &[f32], text: &[u32], token: u32) -> Result<Vec<f32>, DeviceError> {
        assert!(
            !text.is_empty() && text.len() <= self.length,
            "a text of {} tokens, want 1 to {}",
            text.len(),
            self.length
        );
        // padding does not count: attention is causal
        let mut ids = text.to_vec();
        ids.resize(self.length, 0);
        self.pictures.write(&self.plan, image, &[text], self.length);
        self.plan.write(self.ids, &ids);
        let last = text.len() - 1;
        let one_hot = |rows: usize, row: usize| {
            let mut values = vec![0f32; rows * self.vocab];
            values[row * self.vocab + token as usize] = 1.0;
            values
        };
        match self.logits {
            Wanted::Text(wanted) => self.plan.write(wanted, &one_hot(self.length, last)),
            Wanted::Row(wanted, row) => {
                self.plan.write(wanted, &one_hot(1, 0));
                self.plan.write(row, &[(self.front + last) as u32]);
            }
        }
        let gradient: Vec<f32> = self.plan.run_and_read(self.gradient)?;
        let rows: Vec<f32> = self.plan.read(self.rows)?;
        let width = *self.plan.shape(self.rows).last().unwrap_or(&1);
        let products = contributions(&rows, &gradient, width, 0);
        let total = products.iter().sum::<f32>().max(f32::MIN_POSITIVE);
        let patches = match self.encoded {
            true => 0..image.len() / width,
            // a CLS token in front is no patch
            false => products.len() - products.len().isqrt().pow(2)..products.len(),
        };
        Ok(products[patches].iter().map(|x| x / total).collect())
    }
}

/// Returns the sum of gradient times value of each row of `width` values from column `first` on, where
/// it is positive, else 0.
pub(super) fn contributions(
    rows: &[f32],
    gradient: &[f32],
    width: usize,
    first: usize,
) -> Vec<f32> {
    let rows = rows.chunks(width).zip(gradient.chunks(width));
    rows.map(|(row, gradient)| {
        let products = row.iter().zip(gradient).skip(first).map(|(x, g)| x * g);
        products.sum::<f32>().max(0.0)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::emoji::{ClassHeadConfig, Config, TextConfig, VisionConfig};
    use crate::ops::check::{device, random, random_f32};

    /// Scaling a patch embedding changes the logit by the share of its product with the gradient.
    /// The embeddings cannot be written from outside, so the test changes the position embedding
    /// that is added to them.
    #[test]
    fn relevance_is_the_first_order_change_of_the_logit() {
        let device = device();
        let config = Config {
            vision: VisionConfig {
                width: 24,
                heads: 2,
                ..VisionConfig::default()
            },
            class_head: ClassHeadConfig {
                classes: 5,
                guess: true,
            },
            text: TextConfig {
                vocab_size: 11,
                width: 24,
                heads: 2,
                ..TextConfig::default()
            },
            ..Config::default()
        };
        let model = Model::new(&device, &config, 3).unwrap();
        for (index, (_, tensor)) in model.parameters().iter().enumerate() {
            let values = tensor.read::<f32>().unwrap();
            let noise = random(values.len(), index as u64 + 1);
            tensor.write(
                &values
                    .iter()
                    .zip(noise)
                    .map(|(x, noise)| x + 0.1 * noise as f32)
                    .collect::<Vec<f32>>(),
            );
        }
        let (text, token) = (vec![1, 4, 7], 5);
        let image: Vec<f32> = random_f32(3 * 48 * 48, 9);
        let relevance = RelevancePass::new(&device, &model, 6, 0).unwrap();
        let shares = relevance.run(&image, &text, token).unwrap();
        assert!(
            shares.len() == 36 && (shares.iter().sum::<f32>() - 1.0).abs() < 1e-4,
            "{shares:?}"
        );

        let mut tape = device.tape();
        let (picture, ids) = (tape.input(&[1, 3, 48, 48]), tape.input(&[1, text.len()]));
        let logits = model.forward(
            &mut Context::inference(&mut tape),
            Some(picture),
            ids,
            None,
            Logits::Last,
        );
        tape.hold(logits);
        let plan = Plan::new(&device, tape).unwrap();
        plan.write(picture, &image);
        plan.write(ids, &text);
        let rows: Vec<f32> = relevance.plan.read(relevance.rows).unwrap();
        let (_, pos) = model
            .parameters()
            .iter()
            .find(|(name, _)| name == "vit.pos")
            .unwrap();
        let before: Vec<f32> = pos.read().unwrap();
        let logit = |patch: usize, share: f32| {
            let mut moved = before.clone();
            moved[patch * 24..][..24]
                .iter_mut()
                .zip(&rows[patch * 24..])
                .for_each(|(x, row)| *x += share * row);
            pos.write(&moved);
            plan.run_and_read::<f32>(logits).unwrap()[token as usize] as f64
        };
        let slopes: Vec<f64> = (0..36)
            .map(|patch| ((logit(patch, 0.02) - logit(patch, -0.02)) / 0.04).max(0.0))
            .collect();
        let total: f64 = slopes.iter().sum();
        for (patch, (share, slope)) in shares.iter().zip(&slopes).enumerate() {
            assert!(
                (*share as f64 - slope / total).abs() < 0.01,
                "patch {patch}: {share}, by differences {}",
                slope / total
            );
        }
    }
}
