//! An optimizer step, recorded once and run any number of times.

use super::loss::{Loss, Scale};
use super::ranks::{GradientSum, Round, Sums};
use super::{Batch, Gradients, Objective, RankError, Ranks, TrainError};
use crate::device::{Device, DeviceError, Tensor};
use crate::device::{DispatchInfo, Finding, Plan};
use crate::graph::Memory;
use crate::graph::{Precision, Tape, Var};
use crate::models::Model;
use crate::nn::{Context, ParameterInfo};
use crate::ops::GradScaler;
use crate::train::{Optimizer, Update};

/// Forward pass, loss, backward pass and update for a fixed batch size and text length. With
/// gradient accumulation the update is a plan of its own, which runs after the gradients of several
/// batches were summed.
pub struct TrainStep {
    /// Loss and gradients.
    plan: Plan,
    loss: Loss,
    /// Loss over all batches of the step.
    total: Tensor,
    seed: Var,
    first: Option<Var>,
    /// Plan of the update, if it is not part of `plan`.
    updates: Option<Plan>,
    update: Update,
    /// Bytes of the gradients.
    bytes: u64,
    /// Gradients and loss of a part of the step, in place of which the update takes their sums over
    /// ranks.
    shared: Vec<Tensor>,
}

/// Sizes and options of a recorded step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSizes {
    /// Pictures in a batch.
    pub batch: usize,
    /// Text positions of a caption.
    pub length: usize,
    /// Batches in a step.
    pub accumulate: usize,
    /// Whether the backward pass recomputes the intermediate values of blocks, for less memory at
    /// the same result.
    pub checkpoint: bool,
    /// Number format of the operands of matrix products and attention. With f16 the optimizer must
    /// scale the loss.
    pub precision: Precision,
    /// What is minimized.
    pub objective: Objective,
    /// Whether ranks compute the batches of a step: gradients are then summed between `accumulate`
    /// batches and the update, not on the device.
    pub shared: bool,
    /// Sizes of questions about pictures and their answers, for pretrained models.
    pub answers: Option<AnswerSizes>,
}

/// Sizes of a batch of questions about pictures with their answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerSizes {
    /// Number of tiles that the pictures of a batch have at most, all together.
    pub tiles: usize,
    /// Number of tokens that the answers of a batch have at most, all together.
    pub targets: usize,
    /// Whether pictures come as encoder rows, which a frozen encoder gives once and for all.
    pub encoded: bool,
}

impl Default for StepSizes {
    fn default() -> StepSizes {
        StepSizes {
            batch: 1,
            length: 1,
            accumulate: 1,
            checkpoint: false,
            precision: Precision::F32,
            objective: Objective::CAPTIONS,
            shared: false,
            answers: None,
        }
    }
}

/// A recorded step, of which only the gradients are allocated.
pub struct Recording {
    plan: Tape,
    loss: Loss,
    total: Tensor,
    seed: Var,
    first: Var,
    updates: Option<Tape>,
    update: Update,
    /// Gradients and their sums, which must stay alive until plans hold them.
    kept: Vec<Tensor>,
    /// See [`StepSizes::shared`].
    shared: bool,
    /// Bytes of the gradients.
    bytes: u64,
}

impl Recording {
    /// Returns the memory that the plans of the step will allocate together.
    pub fn memory(&self) -> Memory {
        let plans = [Some(&self.plan), self.updates.as_ref()]
            .into_iter()
            .flatten()
            .map(Plan::measure);
        plans.fold(Memory::default(), Memory::and)
    }

    /// Allocates the buffers and compiles the kernels.
    pub fn plan(self, device: &Device) -> Result<TrainStep, DeviceError> {
        self.planned(|tape| Plan::new(device, tape))
    }

    /// Like [`plan`](Self::plan), but compiles on this thread so that [`Device::attempt`] catches
    /// failures.
    pub(crate) fn plan_on_this_thread(self, device: &Device) -> Result<TrainStep, DeviceError> {
        self.planned(|tape| Plan::on_this_thread(device, tape))
    }

    fn planned(
        self,
        make: impl Fn(Tape) -> Result<Plan, DeviceError>,
    ) -> Result<TrainStep, DeviceError> {
        let Recording {
            plan,
            loss,
            total,
            seed,
            first,
            updates,
            update,
            kept,
            shared,
            bytes,
        } = self;
        let plan = make(plan)?;
        let updates = updates.map(make).transpose()?;
        let restarts = updates.is_none() || shared;
        if restarts {
            plan.write(first, &[1u32]);
        }
        let first = (!restarts).then_some(first);
        let shared = match shared {
            true => [kept, vec![total.clone()]].concat(),
            false => vec![],
        };
        Ok(TrainStep {
            plan,
            loss,
            total,
            seed,
            first,
            updates,
            update,
            bytes,
            shared,
        })
    }
}

impl TrainStep {
    /// Records and allocates a step of `accumulate` batches of `batch` pictures with `length` text
    /// positions, in f32 with all intermediate values kept: see [`record`](Self::record).
    pub fn new(
        device: &Device,
        model: &Model,
        optimizer: &Optimizer,
        batch: usize,
        length: usize,
        accumulate: usize,
    ) -> Result<TrainStep, DeviceError> {
        let sizes = StepSizes {
            batch,
            length,
            accumulate,
            ..StepSizes::default()
        };
        Self::record(device, model, optimizer, &sizes, &|_| true)?.plan(device)
    }

    /// Records a step for the parameters that `trains` accepts. Nothing is computed for the
    /// gradients of the others.
    pub fn record(
        device: &Device,
        model: &Model,
        optimizer: &Optimizer,
        sizes: &StepSizes,
        trains: &dyn Fn(&ParameterInfo) -> bool,
    ) -> Result<Recording, DeviceError> {
        let StepSizes {
            batch,
            length,
            accumulate,
            checkpoint,
            precision,
            objective,
            shared,
            answers,
        } = *sizes;
        let mut tape = model.tape(device);
        tape.set_precision(precision);
        let mut c = Context::training(&mut tape, model.info().dropout);
        c.checkpoint = checkpoint;
        c.frozen = model
            .store()
            .iter()
            .filter(|(info, _)| !trains(info))
            .map(|(_, tensor)| tensor.clone())
            .collect();
        let loss = match &answers {
            Some(sizes) => {
                Loss::of_answers(&mut c, model, batch, length, sizes, objective.smoothing)
            }
            None => Loss::record(&mut c, model, batch, length, &objective),
        };
        let seed = c.seed;
        let t = &mut tape;
        let scale = optimizer.scale(t);
        t.backward(loss.value, scale);
        let gradients = Gradients::new(device, model.store())?;
        gradients.place(t, model.store(), trains);
        let grads = gradients.bind(t);

        let total = Tensor::zeros(device, &[1])?;
        let total_var = t.bind(&total);
        let first = t.input(&[1]);
        t.accumulate(total_var, loss.value, first);
        let (mut bytes, mut kept) = (gradients.bytes(), vec![]);
        if accumulate == 1 && !shared {
            let update = optimizer.record(t, &grads, total_var);
            return Ok(Recording {
                plan: tape,
                loss,
                total,
                seed,
                first,
                updates: None,
                update,
                kept: gradients.into_tensors(),
                shared,
                bytes,
            });
        }
        let sums = match shared {
            true => gradients.into_tensors(),
            false => {
                let sums = model.store().zeros(device)?;
                bytes += gradients.bytes();
                for (sum, grad) in sums.iter().zip(grads) {
                    let sum = t.bind(sum);
                    t.accumulate(sum, grad, first);
                }
                kept = gradients.into_tensors();
                sums
            }
        };
        let mut updates = device.tape();
        let summed: Vec<Var> = sums.iter().map(|sum| updates.bind(sum)).collect();
        let total_var = updates.bind(&total);
        let update = optimizer.record(&mut updates, &summed, total_var);
        kept.extend(sums);
        Ok(Recording {
            plan: tape,
            loss,
            total,
            seed,
            first,
            updates: Some(updates),
            update,
            kept,
            shared,
            bytes,
        })
    }

    /// Submits a step without waiting for it. The number of `batches` must be the one recorded; the
    /// loss is the mean over the targets of all of them, so that accumulation gives the result of
    /// one large batch. `seed` must differ from step to step; `keep` is the decay of the average of
    /// the parameters, if it is kept.
    pub fn run(
        &self,
        batches: &[Batch],
        seed: u32,
        learning_rate: f32,
        keep: f32,
    ) -> Result<(), DeviceError> {
        for (index, batch) in batches.iter().enumerate() {
            self.write(batches, index, batch, seed);
            if self.updates.is_none() {
                self.write_update(&self.plan, learning_rate, keep);
            }
            self.plan.run()?;
        }
        self.run_update(learning_rate, keep)
    }

    /// Takes a [shared](StepSizes::shared) step together with other ranks: computes this rank's
    /// batches, sums the gradients over all, and updates the parameters. Otherwise as
    /// [`run`](Self::run).
    pub(super) fn run_shared(
        &self,
        sum: &GradientSum,
        batches: &[Batch],
        seed: u32,
        learning_rate: f32,
        keep: f32,
    ) -> Result<(), TrainError> {
        let (rank, size) = sum.rank();
        let mut sums = Sums::default();
        for begin in (0..batches.len()).step_by(size) {
            let active = size.min(batches.len() - begin);
            if rank < active {
                self.write(batches, begin + rank, &batches[begin + rank], seed);
            }
            let last = begin + size >= batches.len();
            sum.round(&self.plan, &mut sums, Round { active, last })?;
        }
        Ok(self.run_update(learning_rate, keep)?)
    }

    /// Prepares the sum over ranks of gradients and loss of a [shared](StepSizes::shared) step.
    pub(super) fn sum(&self, ranks: &Ranks, format: Precision) -> Result<GradientSum, RankError> {
        GradientSum::new(ranks, &self.shared, &self.plan, format)
    }

    fn write_update(&self, plan: &Plan, learning_rate: f32, keep: f32) {
        plan.write(self.update.rate, &[learning_rate]);
        if let Some(average) = self.update.average {
            plan.write(average, &[keep]);
        }
    }

    /// Runs the update, if it is a plan of its own.
    fn run_update(&self, learning_rate: f32, keep: f32) -> Result<(), DeviceError> {
        if let Some(updates) = &self.updates {
            self.write_update(updates, learning_rate, keep);
            updates.run()?;
        }
        Ok(())
    }

    /// Writes batch `index` of a step into the plan.
    fn write(&self, batches: &[Batch], index: usize, batch: &Batch, seed: u32) {
        self.loss.write(&self.plan, batch, Scale::mean(batches));
        self.plan.write(
            self.seed,
            &[seed
                .wrapping_mul(batches.len() as u32)
                .wrapping_add(index as u32)],
        );
        if let Some(first) = self.first {
            self.plan.write(first, &[(index == 0) as u32]);
        }
    }

    /// Computes loss and gradients of a step again, dispatch by dispatch, and finds the first value
    /// that is not finite, in the batches whose number `computes` accepts. Parameters and moments
    /// stay as they are; [`loss`](Self::loss) and [`gradient_norm`](Self::gradient_norm) have no
    /// meaning until the next step.
    pub fn first_not_finite(
        &self,
        batches: &[Batch],
        seed: u32,
        computes: impl Fn(usize) -> bool,
    ) -> Result<Option<Finding>, DeviceError> {
        // the step would be taken from the kernel on that decides about it
        let decides = |call: &DispatchInfo| call.kernel == GradScaler::KERNEL;
        let all = batches.iter().enumerate();
        for (index, batch) in all.filter(|(index, _)| computes(*index)) {
            self.write(batches, index, batch, seed);
            if let Some(finding) = self.plan.first_not_finite(&decides)? {
                return Ok(Some(finding));
            }
        }
        // the sums over ranks are gone
        let updates = self.updates.as_ref().filter(|_| self.shared.is_empty());
        updates.map_or(Ok(None), |updates| updates.first_not_finite(&decides))
    }

    /// Reads the loss of the last step before its update; waits for it.
    pub fn loss(&self) -> Result<f32, DeviceError> {
        Ok(self.total.read::<f32>()?[0])
    }

    /// Reads the norm of all gradients of the last step together, before clipping; waits for it.
    pub fn gradient_norm(&self) -> Result<f32, DeviceError> {
        let plan = self.updates.as_ref().unwrap_or(&self.plan);
        Ok(plan.read::<f32>(self.update.verdict)?[4])
    }

    /// Returns the device memory beside parameters and moments, in bytes: gradients, intermediate
    /// values, inputs.
    pub fn bytes(&self) -> u64 {
        let plans = [Some(&self.plan), self.updates.as_ref()];
        self.bytes
            + plans
                .into_iter()
                .flatten()
                .map(|plan| plan.memory().shared + plan.memory().held)
                .sum::<u64>()
    }

    /// Returns the plan that computes loss and gradients, and the update unless gradients are
    /// accumulated.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}
