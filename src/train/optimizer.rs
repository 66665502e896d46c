//! Adam and AdamW, gradient clipping, learning-rate schedules.

use serde::{Deserialize, Serialize};

use crate::device::{Device, DeviceError, Tensor};
use crate::graph::{Tape, Var};
use crate::nn::{ParameterGroup, ParameterStore};
use crate::ops::{AdamW, GradScaler};

/// Which rule updates the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Kingma & Ba 2015.
    Adam,
    /// Adam with decoupled weight decay, Loshchilov & Hutter 2019.
    Adamw,
}

/// The numbers of the update rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hyper {
    pub rule: Rule,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// Share of a parameter that a learning rate of 1 takes off at every step; AdamW only.
    pub weight_decay: f64,
    /// The most that the norm of all gradients together may be; 0 for no limit.
    pub clip: f64,
    #[serde(default)]
    pub decay: Decay,
    /// What each step keeps of the average of the parameters over the steps so far, which is what is validated and saved; 0 for no
    /// average. Early on it is less, (1 + step) / (10 + step).
    #[serde(default)]
    pub ema: f64,
}

/// Which parameters weight decay takes its share of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// All, as PyTorch's AdamW does unless it is told otherwise.
    #[default]
    All,
    /// Matrices and embeddings, not biases, norms and other vectors.
    Matrices,
}

impl Decay {
    /// Whether a parameter of this shape decays. Leading axes of length 1 (position embeddings of an image) do not count.
    fn takes(self, shape: &[usize]) -> bool {
        self == Decay::All || shape.iter().filter(|&&len| len > 1).count() > 1
    }
}

/// First and second moments of every parameter's gradient, laid out as the parameters are, and the state of the scaler.
pub struct Optimizer {
    hyper: Hyper,
    storage: ParameterStore,
    m: Vec<Tensor>,
    v: Vec<Tensor>,
    /// See [`ParameterStore::groups`].
    groups: Vec<Tensor>,
    /// Of the parameters, where it is wanted.
    average: Option<Vec<Tensor>>,
    scaler: GradScaler,
    /// See [`GradScaler::start`].
    state: Tensor,
}

/// What a recorded update needs before a run and gives after it.
#[derive(Clone, Copy)]
pub struct Update {
    /// The learning rate: uniform, `[1]`.
    pub rate: Var,
    /// What the average of the parameters keeps, where there is one: uniform, `[1]`.
    pub average: Option<Var>,
    /// The verdict of [`Tape::grad_scaler`]: `[8]`, held.
    pub verdict: Var,
}

/// How the steps went so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    /// What the loss is multiplied by.
    pub scale: f32,
    pub taken: u64,
    /// Because the loss or a gradient was not finite.
    pub skipped: u64,
    /// The first step, counted from 1, whose loss or gradients were not finite at any scale, of those not [forgotten](Optimizer::forget).
    pub bad: Option<u64>,
    /// Such steps in a row, the last ones.
    pub streak: u64,
    /// Losses far above their mean so far.
    pub spikes: u64,
    /// The last of them.
    pub spike: Spike,
}

/// A loss far above the mean of those before it: see `shaders/grad_scaler.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spike {
    /// Counted from 1.
    pub step: u64,
    pub loss: f32,
    pub mean: f32,
}

impl Optimizer {
    /// For the parameters in `storage`, of which those train whose name `trains` accepts.
    pub fn new(
        device: &Device,
        storage: &ParameterStore,
        hyper: Hyper,
        scaler: GradScaler,
        trains: impl Fn(&str) -> bool,
    ) -> Result<Optimizer, DeviceError> {
        let scaler = GradScaler {
            clip: hyper.clip,
            beta1: hyper.beta1,
            beta2: hyper.beta2,
            ..scaler
        };
        let state = Tensor::new(device, &[64], &scaler.start())?;
        let treat = |name: &str, shape: &[usize]| ParameterGroup {
            trains: trains(name),
            decays: hyper.decay.takes(shape),
        };
        let average = (hyper.ema > 0.0)
            .then(|| storage.zeros(device))
            .transpose()?;
        let (m, v, groups) = (
            storage.zeros(device)?,
            storage.zeros(device)?,
            storage.groups(device, treat)?,
        );
        let optimizer = Optimizer {
            hyper,
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

    /// Makes the average what the parameters are now.
    pub fn start_average(&self) -> Result<(), DeviceError> {
        for (average, parameters) in self.average.iter().flatten().zip(self.storage.flats()) {
            average.write(&parameters.read::<f32>()?);
        }
        Ok(())
    }

    /// What the average keeps at step number `step`, counted from 0.
    pub fn keep(&self, step: u64) -> f32 {
        self.hyper.ema.min((1 + step) as f64 / (10 + step) as f64) as f32
    }

    /// Puts the average into the parameters' place and the other way round, where there is an average; again to undo it.
    pub fn swap_average(&self) -> Result<(), DeviceError> {
        for (average, parameters) in self.average.iter().flatten().zip(self.storage.flats()) {
            let (averaged, trained) = (average.read::<f32>()?, parameters.read::<f32>()?);
            average.write(&trained);
            parameters.write(&averaged);
        }
        Ok(())
    }

    /// The parameters to validate and save, by name: their average where there is one.
    pub fn result(&self) -> Vec<(String, Tensor)> {
        self.average.as_ref().map_or_else(
            || self.storage.named().to_vec(),
            |average| self.storage.named_in(average),
        )
    }

    /// What the loss must be multiplied by before gradients are taken: `[1]`.
    pub fn scale(&self, t: &mut Tape) -> Var {
        t.bind(&self.state.part(0, &[1]))
    }

    /// Records the norm of `grads`, which are laid out as the parameters are and scaled by [`scale`](Self::scale), and the
    /// update of every parameter. Where the norm or the `loss: [1]` is not finite nothing is updated.
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
        let Hyper {
            rule,
            beta1,
            beta2,
            eps,
            weight_decay,
            ..
        } = self.hyper;
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
            t.adamw(
                parameters,
                grads[index],
                m,
                v,
                filled[index],
                verdict,
                rate,
                rule,
            );
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

    /// How the steps went so far; waits for them.
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

    /// Lets steps be taken again after a bad one; the next one is then the first.
    pub fn forget(&self) {
        self.state
            .part(GradScaler::place("bad"), &[1])
            .write(&[0.0f32]);
    }

    /// All that changes from step to step: the parameters under the names `p.PARAMETER`, their moments `m.PARAMETER` and
    /// `v.PARAMETER`, `scaler`, and where there is an average `a.PARAMETER`.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let named = |letter: &str, flats: &[Tensor]| {
            let named = self.storage.named_in(flats).into_iter();
            named
                .map(|(name, tensor)| (format!("{letter}.{name}"), tensor))
                .collect::<Vec<_>>()
        };
        let moments = [
            named("m", &self.m),
            named("v", &self.v),
            named("p", self.storage.flats()),
        ]
        .concat();
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

    /// What the names of the tensors to validate and save begin with among those of the [state](Self::state).
    pub fn result_prefix(&self) -> &'static str {
        if self.average.is_some() { "a." } else { "p." }
    }
}

/// How the learning rate goes after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine from the peak down to zero (Loshchilov & Hutter 2017, one cycle).
    Cosine,
    /// A straight line down to zero.
    Linear,
    /// The peak to the end.
    Constant,
}

impl Schedule {
    /// The share of the peak rate: rises in a straight line over `warmup` steps, then follows the schedule. `step` counts
    /// from 0; `progress` is the share of the way from the end of the warm-up to the end of training, from 0 to 1.
    pub fn factor(self, step: u64, warmup: u64, progress: f64) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let progress = progress.clamp(0.0, 1.0);
        match self {
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Schedule::Linear => 1.0 - progress,
            Schedule::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls_to_zero() {
        assert_eq!(Schedule::Cosine.factor(0, 10, 0.0), 0.1);
        assert_eq!(Schedule::Cosine.factor(9, 10, 0.0), 1.0);
        assert!((Schedule::Cosine.factor(50, 10, 0.5) - 0.5).abs() < 1e-12);
        assert!(Schedule::Cosine.factor(100, 10, 1.0) < 1e-12);
        assert_eq!(Schedule::Linear.factor(75, 0, 0.75), 0.25);
        assert_eq!(Schedule::Constant.factor(99, 0, 1.0), 1.0);
    }
}
