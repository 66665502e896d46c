//! Adam and AdamW with gradient clipping and an average of the parameters.

use serde::{Deserialize, Serialize};

use crate::device::{Device, DeviceError, Tensor};
use crate::graph::{Tape, Var};
use crate::nn::{ParameterGroup, ParameterInfo, ParameterStore};
use crate::ops::{AdamW, GradScaler};

/// Number of elements that the host copies at once.
const PIECE: usize = 1 << 20;

/// Update rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Adam (Kingma & Ba 2015).
    Adam,
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    Adamw,
}

/// Settings of the update rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Update rule.
    pub rule: Rule,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment, against division by zero.
    pub eps: f64,
    /// AdamW weight decay, per step and unit of learning rate.
    pub weight_decay: f64,
    /// Largest norm of all gradients together; 0 for no limit.
    pub clip: f64,
    /// Parameters that weight decay applies to.
    pub decay: Decay,
    /// Form of the moments of gradients.
    pub moments: Moments,
    /// Decay of the exponential moving average of the parameters, which is then validated and
    /// saved; 0 disables it. Early on it is lower, at most (1 + step) / (10 + step).
    pub ema: f64,
}

impl Default for OptimizerConfig {
    fn default() -> OptimizerConfig {
        OptimizerConfig {
            rule: Rule::Adamw,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            clip: 1.0,
            decay: Decay::All,
            moments: Moments::F32,
            ema: 0.0,
        }
    }
}

/// Form in which the two moments of each gradient are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moments {
    /// 32-bit floats: 8 bytes a parameter.
    #[default]
    #[serde(rename = "f32")]
    F32,
    /// 8-bit codes with a scale for 64 of them: 2.125 bytes a parameter; see [`Tape::adamw_8bit`].
    #[serde(rename = "8bit")]
    Eight,
}

impl Moments {
    /// Number of bytes that both moments of `n` elements take.
    pub fn bytes(self, n: u64) -> u64 {
        match self {
            Moments::F32 => 8 * n,
            Moments::Eight => 8 * AdamW::words_of_8_bit_moments(n as usize) as u64,
        }
    }
}

/// Parameters that weight decay applies to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// All parameters, as PyTorch's AdamW by default.
    #[default]
    All,
    /// Matrices and embeddings; not biases, norms and other vectors.
    Matrices,
}

impl Decay {
    /// Whether weight decay applies to a parameter.
    fn takes(self, info: &ParameterInfo) -> bool {
        self == Decay::All || info.is_matrix()
    }
}

/// State of the optimizer: the moments of every gradient, laid out as the parameters, and the loss
/// scaler.
pub struct Optimizer {
    config: OptimizerConfig,
    storage: ParameterStore,
    m: Vec<Tensor>,
    v: Vec<Tensor>,
    /// See [`ParameterStore::groups`].
    groups: Vec<Tensor>,
    /// Average of the parameters, if it is kept.
    average: Option<Vec<Tensor>>,
    scaler: GradScaler,
    /// See [`GradScaler::start`].
    state: Tensor,
}

/// Inputs and outputs of a recorded update.
#[derive(Clone, Copy)]
pub struct Update {
    /// Learning rate: uniform, `[1]`.
    pub rate: Var,
    /// Decay of the average, if it is kept: uniform, `[1]`.
    pub average: Option<Var>,
    /// Output of [`Tape::grad_scaler`]: `[8]`, held.
    pub verdict: Var,
}

/// Counters of the steps so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    /// Loss scale.
    pub scale: f32,
    /// Steps that updated the parameters.
    pub taken: u64,
    /// Steps skipped because the loss or a gradient was not finite.
    pub skipped: u64,
    /// First step, counted from 1, whose loss or gradients were not finite at any scale and that
    /// was not [forgotten](Optimizer::forget).
    pub bad: Option<u64>,
    /// Number of such steps in a row, up to the last step.
    pub streak: u64,
    /// Number of losses far above their mean.
    pub spikes: u64,
    /// Last of these losses.
    pub spike: Spike,
}

/// A loss far above the mean of those before it, as the loss scaler finds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spike {
    /// Number of the step, from 1.
    pub step: u64,
    /// Loss of the step.
    pub loss: f32,
    /// Mean of the losses before it.
    pub mean: f32,
}

impl Optimizer {
    /// Makes the optimizer of the parameters in `storage`, of which those train that `trains`
    /// accepts.
    pub fn new(
        device: &Device,
        storage: &ParameterStore,
        config: OptimizerConfig,
        scaler: GradScaler,
        trains: impl Fn(&ParameterInfo) -> bool,
    ) -> Result<Optimizer, DeviceError> {
        let scaler = GradScaler {
            clip: config.clip,
            beta1: config.beta1,
            beta2: config.beta2,
            ..scaler
        };
        let state = Tensor::new(device, &[64], &scaler.start())?;
        let group = |info: &ParameterInfo| ParameterGroup {
            trains: trains(info),
            decays: config.decay.takes(info),
        };
        let average = (config.ema > 0.0)
            .then(|| storage.zeros(device))
            .transpose()?;
        let moments = || match config.moments {
            Moments::F32 => storage.zeros(device),
            Moments::Eight => {
                let flats = storage.flats().iter();
                let words = flats.map(|flat| AdamW::words_of_8_bit_moments(flat.len()));
                words.map(|words| Tensor::zeros(device, &[words])).collect()
            }
        };
        let (m, v, groups) = (moments()?, moments()?, storage.groups(device, group)?);
        let optimizer = Optimizer {
            config,
            storage: storage.clone(),
            m,
            v,
            groups,
            average,
            scaler,
            state,
        };
        optimizer.start_average()?;
        Ok(optimizer)
    }

    /// Sets the average to the present parameters.
    pub fn start_average(&self) -> Result<(), DeviceError> {
        for (average, parameters) in self.average.iter().flatten().zip(self.storage.flats()) {
            for (average, parameters) in average.pieces(PIECE).zip(parameters.pieces(PIECE)) {
                average.write(&parameters.read::<f32>()?);
            }
        }
        Ok(())
    }

    /// Returns the decay of the average at step `step`, counted from 0.
    pub fn keep(&self, step: u64) -> f32 {
        self.config.ema.min((1 + step) as f64 / (10 + step) as f64) as f32
    }

    /// Swaps parameters and their average, if it is kept. A second call undoes it.
    pub fn swap_average(&self) -> Result<(), DeviceError> {
        for (average, parameters) in self.average.iter().flatten().zip(self.storage.flats()) {
            for (average, parameters) in average.pieces(PIECE).zip(parameters.pieces(PIECE)) {
                let (averaged, trained) = (average.read::<f32>()?, parameters.read::<f32>()?);
                average.write(&trained);
                parameters.write(&averaged);
            }
        }
        Ok(())
    }

    /// Returns the parameters to validate and save, by name: their average if it is kept.
    pub fn result(&self) -> Vec<(String, Tensor)> {
        self.average.as_ref().map_or_else(
            || self.storage.named().to_vec(),
            |average| self.storage.named_in(average),
        )
    }

    /// Returns the factor of the loss for the backward pass: `[1]`.
    pub fn scale(&self, t: &mut Tape) -> Var {
        t.bind(&self.state.part(0, &[1]))
    }

    /// Records the norm of `grads`, laid out as the parameters and scaled by
    /// [`scale`](Self::scale), and the update of every parameter. When the norm or the `loss: [1]`
    /// is not finite, nothing is updated.
    pub fn record(&self, t: &mut Tape, grads: &[Var], loss: Var) -> Update {
        let rate = t.input(&[1]);
        let filled: Vec<Var> = self.groups.iter().map(|table| t.bind(table)).collect();
        let squares: Vec<Var> = grads
            .iter()
            .zip(&filled)
            .map(|(&grad, &filled)| t.sum_squares(grad, filled))
            .collect();
        let norm_squared = squares
            .into_iter()
            .reduce(|a, b| t.add(a, b))
            .expect("a model has parameters");
        let state = t.bind(&self.state);
        let verdict = t.grad_scaler(norm_squared, loss, state, self.scaler);
        t.hold(verdict);
        let OptimizerConfig {
            rule,
            beta1,
            beta2,
            eps,
            weight_decay,
            ..
        } = self.config;
        let rule = AdamW {
            beta1,
            beta2,
            eps,
            weight_decay: if rule == Rule::Adamw {
                weight_decay
            } else {
                0.0
            },
        };
        for (index, flat) in self.storage.flats().iter().enumerate() {
            let [parameters, m, v] =
                [flat, &self.m[index], &self.v[index]].map(|tensor| t.bind(tensor));
            let (gradient, filled) = (grads[index], filled[index]);
            match self.config.moments {
                Moments::F32 => t.adamw(parameters, gradient, m, v, filled, verdict, rate, rule),
                Moments::Eight => {
                    t.adamw_8bit(parameters, gradient, m, v, filled, verdict, rate, rule)
                }
            }
        }
        let average = self.average.as_ref().map(|averages| {
            let decay = t.input(&[1]);
            for (average, flat) in averages.iter().zip(self.storage.flats()) {
                let (average, parameters) = (t.bind(average), t.bind(flat));
                t.ema(average, parameters, verdict, decay);
            }
            decay
        });
        Update {
            rate,
            average,
            verdict,
        }
    }

    /// Reads the counters of the steps so far; waits for them.
    pub fn steps(&self) -> Result<Steps, DeviceError> {
        let state: Vec<f32> = self.state.read()?;
        let at = |field: &str| state[GradScaler::place(field)];
        let spike = Spike {
            step: at("spike_step") as u64,
            loss: at("spike_loss"),
            mean: at("spike_mean"),
        };
        let [taken, skipped, bad, streak, spikes] =
            ["taken", "skipped", "bad", "streak", "spikes"].map(|field| at(field) as u64);
        Ok(Steps {
            scale: at("scale"),
            taken,
            skipped,
            bad: (bad > 0).then_some(bad),
            streak,
            spikes,
            spike,
        })
    }

    /// Forgets the bad steps so far, so that steps are taken again.
    pub fn forget(&self) {
        self.state
            .part(GradScaler::place("bad"), &[1])
            .write(&[0.0f32]);
    }

    /// Whether a tensor of the [state](Self::state) holds codes in place of numbers.
    pub fn holds_codes(name: &str) -> bool {
        ["m8.", "v8."].iter().any(|begin| name.starts_with(begin))
    }

    /// Returns everything that changes from step to step: the parameters as `p.PARAMETER`, their
    /// moments as `m.PARAMETER` and `v.PARAMETER`, or in 8 bits as `m8.NUMBER` and `v8.NUMBER` for
    /// many parameters together, `scaler`, and the average as `a.PARAMETER` if it is kept.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let named = |letter: &str, flats: &[Tensor]| {
            let named = self.storage.named_in(flats).into_iter();
            named
                .map(|(name, tensor)| (format!("{letter}.{name}"), tensor))
                .collect::<Vec<_>>()
        };
        let numbered = |letter: &str, flats: &[Tensor]| {
            let numbered = flats.iter().enumerate();
            numbered
                .map(|(number, tensor)| (format!("{letter}8.{number}"), tensor.clone()))
                .collect::<Vec<_>>()
        };
        let [m, v] = match self.config.moments {
            Moments::F32 => [named("m", &self.m), named("v", &self.v)],
            Moments::Eight => [numbered("m", &self.m), numbered("v", &self.v)],
        };
        let moments = [m, v, named("p", self.storage.flats())].concat();
        let average = self
            .average
            .as_ref()
            .map_or(vec![], |average| named("a", average));
        moments
            .into_iter()
            .chain(average)
            .chain([("scaler".to_owned(), self.state.clone())])
            .collect()
    }
}
