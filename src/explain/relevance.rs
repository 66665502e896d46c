//! Which patches speak for a token, where no attention from the text to the patches says it: gradient times input.

use crate::device::Plan;
use crate::device::{Device, DeviceError};
use crate::graph::Var;
use crate::models::seemore::{Logits, Vlm};
use crate::nn::Context;

/// A recorded pass over one picture and a text, and back from a token's logit to the patch rows that the encoder starts from.
pub struct Relevance {
    plan: Plan,
    image: Var,
    ids: Var,
    wanted: Var,
    rows: Var,
    gradient: Var,
    length: usize,
    vocab: usize,
}

impl Relevance {
    /// For texts of at most `length` positions.
    pub fn new(device: &Device, model: &Vlm, length: usize) -> Result<Relevance, DeviceError> {
        let config = model.config();
        let mut tape = device.tape();
        let image = tape.input(&[1, 3, config.image_size, config.image_size]);
        let ids = tape.input(&[1, length]);
        let mut c = Context::inference(&mut tape);
        c.watch = true;
        let logits = model.forward(&mut c, Some(image), ids, None, Logits::Text);
        let rows = c.watched.expect("a model with an encoder has patch rows");
        let wanted = tape.input(&[1, length, config.vocab_size]);
        tape.backward(logits, wanted);
        let gradient = tape
            .grad(rows)
            .expect("the logits depend on the patch rows");
        tape.hold(rows);
        tape.hold(gradient);
        Ok(Relevance {
            plan: Plan::new(device, tape)?,
            image,
            ids,
            wanted,
            rows,
            gradient,
            length,
            vocab: config.vocab_size,
        })
    }

    /// For the logit of `token` after `text`: of each patch the sum over its row of gradient times value, the first order of what the
    /// logit would lose without it (Shrikumar et al. 2016). What speaks against the token counts as 0; the rest sums to 1.
    ///
    /// # Panics
    /// With an empty text, or one longer than this was made for.
    pub fn run(&self, image: &[f32], text: &[u32], token: u32) -> Result<Vec<f32>, DeviceError> {
        assert!(
            !text.is_empty() && text.len() <= self.length,
            "a text of {} positions, 1 to {} were asked for",
            text.len(),
            self.length
        );
        // what follows the text does not count: positions see only those before them
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
        let spoken: Vec<f32> = rows
            .chunks(width)
            .zip(gradient.chunks(width))
            .map(product)
            .collect();
        let total = spoken.iter().sum::<f32>().max(f32::MIN_POSITIVE);
        // a CLS token in front is no patch
        let patches = (spoken.len() as f64).sqrt() as usize;
        Ok(spoken[spoken.len() - patches * patches..]
            .iter()
            .map(|x| x / total)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::seemore::{Config, Preset};
    use crate::ops::check::{device, random, random_f32};

    /// Taking a patch's row away changes the logit by its product with the gradient, to the first order. The rows cannot be reached from
    /// outside, so the test changes what adds to them: the position embedding.
    #[test]
    fn it_is_what_the_logit_changes_by() {
        let device = device();
        let sizes = Preset::Emoji.config();
        let config = Config {
            vocab_size: 11,
            vision_width: 24,
            vision_heads: 2,
            width: 24,
            heads: 2,
            classes: 5,
            ..sizes
        };
        let model = Vlm::new(&device, &config, 3).unwrap();
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
        let relevance = Relevance::new(&device, &model, 6).unwrap();
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
