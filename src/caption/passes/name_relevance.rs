//! Relevance of each patch to the name that a composition gives a picture.

use super::relevance::contributions;
use crate::device::{Device, DeviceError, Plan};
use crate::graph::Var;
use crate::models::Model;
use crate::nn::Context;

/// A recorded pass of the last block of the image encoder over a picture, and back from the logit of a
/// name to the values that patches pass to the CLS row there.
///
/// Only that row becomes the embedding that names are told apart by. In the blocks before, what
/// patches know of the picture is spread over rows far from where it was, so that relevance of the
/// patch embeddings says less about the picture.
pub(crate) struct NameRelevancePass {
    plan: Plan,
    /// Input of the block, `[1, 1 + patches, width]`.
    input: Var,
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
    /// With a model that has no such set, or one that needs more than the embedding of the picture.
    pub(crate) fn new(
        device: &Device,
        model: &Model,
        set: usize,
    ) -> Result<NameRelevancePass, DeviceError> {
        let info = model.info();
        let width = info.encoder.map_or(0, |stack| stack.width);
        let mut tape = model.tape(device);
        let input = tape.input(&[1, info.encoder_rows(), width]);
        let mut c = Context::inference(&mut tape);
        c.value_gradients = true;
        let logits = model.name_logits(&mut c, input, set);
        let rows = c.value_rows.expect("a pretrained encoder has blocks");
        let shape = tape.shape(logits).to_vec();
        let wanted = tape.input(&shape);
        tape.backward(logits, wanted);
        let gradient = tape
            .grad(rows)
            .expect("the embedding depends on the last block");
        tape.hold(rows);
        tape.hold(gradient);
        Ok(NameRelevancePass {
            plan: Plan::new(device, tape)?,
            input,
            wanted,
            rows,
            gradient,
        })
    }

    /// Returns the share of each patch, row by row, in the logit of a name for a tile, of which `input`
    /// are the rows `[1 + patches, width]` in front of the block: the sum of gradient times value over the patch's values, which
    /// is to first order what the logit would lose without them (Shrikumar et al. 2016). Negative
    /// sums count as 0; the shares sum to 1 unless all are 0.
    ///
    /// # Errors
    /// A failed device.
    pub(crate) fn run(&self, input: &[f32], name: usize) -> Result<Vec<f32>, DeviceError> {
        let mut wanted = vec![0f32; self.plan.shape(self.wanted).iter().product()];
        wanted[name] = 1.0;
        self.plan.write(self.input, input);
        self.plan.write(self.wanted, &wanted);
        let gradient: Vec<f32> = self.plan.run_and_read(self.gradient)?;
        let rows: Vec<f32> = self.plan.read(self.rows)?;
        let width = *self.plan.shape(self.rows).last().unwrap_or(&3);
        let products = contributions(&rows, &gradient, width, width / 3 * 2);
        // the CLS row is no patch
        let patches = &products[1..];
        let total = patches.iter().sum::<f32>().max(f32::MIN_POSITIVE);
        Ok(patches.iter().map(|x| x / total).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caption::passes::Encoding;
    use crate::models::composition::Config;
    use crate::ops::check::{device, random, random_f32};

    fn config() -> Config {
        let config = serde_json::json!({
            "encoder": {
                "model": "encoder",
                "layers": 1,
                "vision": {
                    "image_size": 24, "patch_size": 4, "hidden_size": 16, "intermediate_size": 24,
                    "num_hidden_layers": 2, "num_attention_heads": 2, "layer_norm_eps": 1e-5,
                    "hidden_act": "quick_gelu"
                }
            },
            "projector": {
                "kind": "linear", "pixel_shuffle_factor": 2, "norm": true, "embedding": 12,
                "names": [{"names": 5, "rows": 2}]
            },
            "decoder": {
                "model": "decoder",
                "text": {
                    "vocab_size": 20, "hidden_size": 16, "intermediate_size": 24,
                    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
                    "head_dim": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
                    "rope_theta": 10000.0, "tie_word_embeddings": true, "attention_bias": false,
                    "mlp_bias": false
                }
            },
            "image_token_id": 20
        });
        serde_json::from_value(config).unwrap()
    }

    /// A bias of the values moves those of all rows, which sum up to the logit's slope.
    #[test]
    fn gradients_of_values_are_those_of_their_bias() {
        let device = device();
        let model = Model::new(&device, config(), 5).unwrap();
        for (index, (name, tensor)) in model.parameters().iter().enumerate() {
            if name.ends_with(".tokens") {
                continue;
            }
            let values = tensor.read::<f32>().unwrap();
            let noise = random(values.len(), index as u64 + 1);
            let moved = values
                .iter()
                .zip(noise)
                .map(|(x, noise)| x + 0.3 * noise as f32);
            tensor.write(&moved.collect::<Vec<f32>>());
        }
        let (image, name) = (random_f32(3 * 24 * 24, 9), 3);
        let encoding = Encoding::new(&device, &model, 1).unwrap();
        let pass = NameRelevancePass::new(&device, &model, 0).unwrap();
        let rows = encoding.run(&image).unwrap().last_block.remove(0);
        let shares = pass.run(&rows, name).unwrap();
        assert_eq!(shares.len(), 36);
        assert!(
            (shares.iter().sum::<f32>() - 1.0).abs() < 1e-4,
            "{shares:?}"
        );
        let gradient: Vec<f32> = pass.plan.read(pass.gradient).unwrap();

        let logit = || f64::from(encoding.run(&image).unwrap().names[0][name]);
        let (_, bias) = model
            .parameters()
            .iter()
            .find(|(name, _)| name.contains("layers.1.self_attn.v_proj.bias"))
            .expect("the last block has values");
        let before: Vec<f32> = bias.read().unwrap();
        for at in [0, 7, 15] {
            let moved = |step: f32| {
                let mut moved = before.clone();
                moved[at] += step;
                bias.write(&moved);
                logit()
            };
            let slope = (moved(0.01) - moved(-0.01)) / 0.02;
            let rows = gradient.chunks(48).map(|row| f64::from(row[32 + at]));
            let sum: f64 = rows.sum();
            assert!(
                (sum - slope).abs() < 2e-3 * slope.abs().max(1.0),
                "{at}: {sum}, {slope}"
            );
        }
    }
}
