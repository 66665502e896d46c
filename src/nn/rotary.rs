//! Rotary position embeddings (Su et al. 2021).

use serde::{Deserialize, Serialize};

use super::{Context, Parameters};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;

/// Change of the rotation's frequencies for contexts longer than those of the pretraining.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "snake_case")]
pub enum RotaryScaling {
    /// All frequencies are divided by `factor` (Chen et al. 2023).
    Linear {
        /// Divisor.
        factor: f64,
    },
    /// Low frequencies are divided by `factor`, high ones kept, those between blended, as in Llama
    /// 3.1.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// The original context over this is the wavelength from which frequencies are low.
        low_freq_factor: f64,
        /// The original context over this is the wavelength up to which frequencies are high.
        high_freq_factor: f64,
        /// Context of the pretraining, in positions.
        original_max_position_embeddings: usize,
    },
}

impl RotaryScaling {
    /// Returns the frequency that takes the place of `frequency`, in radians per position.
    fn scaled(self, frequency: f64) -> f64 {
        match self {
            RotaryScaling::Linear { factor } => frequency / factor,
            RotaryScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let turns =
                    original_max_position_embeddings as f64 * frequency / std::f64::consts::TAU;
                let share = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let share = share.clamp(0.0, 1.0);
                (1.0 - share) * frequency / factor + share * frequency
            }
        }
    }
}

/// Table of the rotations of queries and keys.
#[derive(Clone)]
pub struct Rotary {
    /// `[positions, head_width / 2, 2]`: cosine and sine of each angle.
    table: Tensor,
    head_width: usize,
}

impl Rotary {
    /// Creates the table for `positions` positions: pair `i` of a head turns by `theta^(-2i /
    /// head_width)` radians a position.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold it.
    pub fn new(
        p: &mut Parameters,
        positions: usize,
        head_width: usize,
        theta: f64,
        scaling: Option<RotaryScaling>,
    ) -> Result<Rotary, DeviceError> {
        let pairs = head_width / 2;
        let table = p.constant(&[positions, pairs, 2], || {
            let frequency = |pair: usize| {
                // PyTorch's tables hold the frequencies, their inverses and the angles in f32
                let power = (2 * pair) as f32 / head_width as f32;
                let frequency = 1.0 / (theta as f32).powf(power);
                match scaling {
                    Some(scaling) => scaling.scaled(frequency as f64) as f32,
                    None => frequency,
                }
            };
            let frequencies: Vec<f32> = (0..pairs).map(frequency).collect();
            let angles = (0..positions).flat_map(|position| {
                let frequencies = frequencies.iter();
                frequencies.map(move |frequency| position as f32 * frequency)
            });
            angles
                .flat_map(|angle| {
                    let (sine, cosine) = (angle as f64).sin_cos();
                    [cosine as f32, sine as f32]
                })
                .collect()
        })?;
        Ok(Rotary { table, head_width })
    }

    /// Rotates the first `heads` heads of each row of `x: [batch, t, ..]`, which are at the
    /// positions `past..past + t`.
    pub fn forward(&self, c: &mut Context, x: Var, heads: usize) -> Var {
        let table = c.tape.bind(&self.table);
        c.tape.rope(x, table, c.past, heads, self.head_width)
    }
}
