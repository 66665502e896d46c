//! Relevance of each patch to a token: gradient times input.

use crate::device::{Device, DeviceError, Plan};
use crate::graph::Var;
use crate::models::{Logits, Model};
use crate::nn::Context;

/// A recorded pass over one picture and a text, and back from a token's logit to the patch
/// embeddings.
///
/// It explains models whose decoder does not attend to patches, where attention maps say nothing
/// about them.
pub struct RelevancePass {
    plan: Plan,
    image: Var,
    ids: Var,
    /// `[1, length, vocab]`: gradient of the logits.
    wanted: Var,
    /// Patch embeddings, as the encoder's blocks take them in.
    rows: Var,
    gradient: Var,
    length: usize,
    vocab: usize,
}

impl RelevancePass {
    /// Records the pass for texts of at most `length` tokens.
    ///
    /// # Errors
    /// Insufficient device memory for the pass.
    ///
    /// # Panics
    /// With a model that has no image encoder.
    pub fn new(
        device: &Device,
        model: &Model,
        length: usize,
    ) -> Result<RelevancePass, DeviceError> {
        let info = model.info();
        let mut tape = device.tape();
        let image = tape.input(&[1, 3, info.image_size(), info.image_size()]);
        let ids = tape.input(&[1, length]);
        let mut c = Context::inference(&mut tape);
        c.patch_gradients = true;
        let logits = model.forward(&mut c, Some(image), ids, None, Logits::Text);
        let rows = c
            .patch_rows
            .expect("a model with an encoder has patch rows");
        let wanted = tape.input(&[1, length, info.vocab_size]);
        tape.backward(logits, wanted);
        let gradient = tape
            .grad(rows)
            .expect("the logits depend on the patch rows");
        tape.hold(rows);
        tape.hold(gradient);
        Ok(RelevancePass {
            plan: Plan::new(device, tape)?,
            image,
            ids,
            wanted,
            rows,
            gradient,
            length,
            vocab: info.vocab_size,
        })
    }

    /// Returns the share of each patch, row by row, in the logit of `token` after `text`: the sum
    /// over the patch's embedding of gradient times value, which is to first order what the logit
    /// would lose without it (Shrikumar et al. 2016). Negative sums count as 0; the shares sum to
    /// 1.
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
        let mut wanted = vec![0f32; self.length * self.vocab];
        wanted[(text.len() - 1) * self.vocab + token as usize] = 1.0;
        self.plan.write(self.image, image);
        self.plan.write(self.ids, &ids);
        self.plan.write(self.wanted, &wanted);
        let gradient: Vec<f32> = self.plan.run_and_read(self.gradient)?;
        let rows: Vec<f32> = self.plan.read(self.rows)?;
        let width = *self.plan.shape(self.rows).last().unwrap_or(&1);
        let product = |(row, gradient): (&[f32], &[f32])| {
            row.iter()
                .zip(gradient)
                .map(|(x, g)| x * g)
                .sum::<f32>()
                .max(0.0)
        };
        let products: Vec<f32> = rows
            .chunks(width)
            .zip(gradient.chunks(width))
            .map(product)
            .collect();
        let total = products.iter().sum::<f32>().max(f32::MIN_POSITIVE);
        // a CLS token in front is no patch
        let patches = products.len().isqrt().pow(2);
        Ok(products[products.len() - patches..]
            .iter()
            .map(|x| x / total)
            .collect())
    }
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
        let relevance = RelevancePass::new(&device, &model, 6).unwrap();
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
