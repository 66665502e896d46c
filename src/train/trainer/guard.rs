//! Steps whose loss or gradients are not finite: found, explained, skipped or rolled back.

use std::path::Path;
use std::time::Instant;

use super::Trainer;
use crate::device::Finding;
use crate::graph::TensorRef;
use crate::models::checkpoint;
use crate::train::config::OnNan;
use crate::train::state::saved_steps;
use crate::train::{Event, Observer, State, TrainError, TrainStep};

/// Consecutive bad steps after which a training that skips them ends.
const MAX_SKIPPED: u64 = 20;
/// Rollbacks after which a training ends.
const MAX_ROLLBACKS: u32 = 5;

impl Trainer<'_> {
    /// Reads how the steps since the last look went, which the device recorded for each of them,
    /// and handles bad ones as configured. Returns whether training went back to an earlier step.
    pub(super) fn look(
        &mut self,
        plan: &TrainStep,
        start: Instant,
        observer: &mut dyn Observer,
    ) -> Result<bool, TrainError> {
        let steps = self.optimizer.steps()?;
        if steps.spikes > self.spikes {
            self.spikes = steps.spikes;
            // a warning that cannot end the training
            let _ = observer.on(Event::Spike {
                spike: steps.spike,
                count: steps.spikes,
            });
        }
        let Some(step) = steps.bad else {
            return Ok(false);
        };
        let what = self.explain(plan, step)?;
        self.optimizer.forget();
        let diverged = |what, trainer: &Trainer| {
            Err(TrainError::Diverged {
                what,
                kept: trainer.kept(),
                guarded: trainer.config.guard.on_nan != OnNan::Stop,
            })
        };
        match self.config.guard.on_nan {
            OnNan::Skip if steps.streak >= MAX_SKIPPED => diverged(
                format!("{what}, the last of {} such steps in a row", steps.streak),
                self,
            ),
            OnNan::Skip => {
                let _ = observer.on(Event::Skipped { step, what: &what });
                Ok(false)
            }
            OnNan::Rollback if self.rollbacks >= MAX_ROLLBACKS => {
                diverged(format!("{what}, after {MAX_ROLLBACKS} rollbacks"), self)
            }
            OnNan::Rollback => {
                let seconds = self.before + start.elapsed().as_secs_f64();
                let rate = self.rate / 2.0;
                match self.out.as_deref().filter(|_| self.saved) {
                    // rank 0 saves for all
                    _ if !self.ranks.is_first() => {}
                    Some(dir) => self.resume(State::newest(dir)?)?,
                    None => {
                        let (progress, tensors) = self.start.take().expect("kept for rollbacks");
                        let path = Path::new("the start of this run");
                        checkpoint::restore(&self.optimizer.state(), &tensors, path)?;
                        self.take(&progress)?;
                        self.start = Some((progress, tensors));
                    }
                }
                if self.ranks.are_several() {
                    self.take_from_first()?;
                }
                (self.before, self.rate, self.rollbacks) = (seconds, rate, self.rollbacks + 1);
                let _ = observer.on(Event::RolledBack {
                    step,
                    to: self.step,
                    rate,
                    what: &what,
                });
                Ok(true)
            }
            OnNan::Stop => {
                // the device has taken no step since
                self.step = step - 1;
                if self.step > 0 {
                    self.save(start, observer)?;
                }
                diverged(what, self)
            }
        }
    }

    /// Says which states the run folder holds.
    pub(super) fn kept(&self) -> String {
        if !self.ranks.is_first() {
            // rank 0 reports it
            return String::new();
        }
        let kept = self.out.as_deref().filter(|_| self.saved);
        let steps: Vec<String> = kept
            .map_or(vec![], saved_steps)
            .iter()
            .map(u64::to_string)
            .collect();
        match (kept, steps.as_slice()) {
            (Some(dir), [step]) => format!("{} has the state after step {step}", dir.display()),
            (Some(dir), [_, ..]) => format!(
                "{} has the states after steps {}",
                dir.display(),
                steps.join(" and ")
            ),
            _ => "Nothing was trained before it that could have been saved".into(),
        }
    }

    /// Names the first value of a step that is not finite, by computing the step again with the
    /// present parameters.
    fn explain(&self, plan: &TrainStep, step: u64) -> Result<String, TrainError> {
        if let Some((name, value)) = checkpoint::first_not_finite(self.model.parameters())? {
            return Ok(format!("parameter {name} holds {value} at step {step}"));
        }
        let batches = self.feed.batches(step - 1);
        let seed = self.seed_of(step - 1);
        let found = plan.first_not_finite(&batches, seed, |part| self.feed.computes(part))?;
        let found = found.map(|finding| self.worded(finding, step));
        let found = match self.ranks.are_several() {
            true => {
                let all = self.ranks.gather_texts(&found.unwrap_or_default())?;
                let mut all = all.into_iter().enumerate();
                let first = all.find(|(_, text)| !text.is_empty());
                first.map(|(rank, text)| format!("{text} on rank {rank}"))
            }
            false => found,
        };
        Ok(
            found
                .unwrap_or_else(|| format!("the loss or a gradient was not finite at step {step}")),
        )
    }

    /// Words what was not finite at a step.
    fn worded(&self, finding: Finding, step: u64) -> String {
        let Finding {
            call,
            dispatch,
            of,
            value,
            tensors,
        } = finding;
        // a packed tensor holds several parameters
        let named = |tensor: &TensorRef| {
            self.model
                .parameters()
                .iter()
                .filter(|(_, known)| known.reference().offset_in(tensor).is_some())
                .collect::<Vec<_>>()
        };
        let names = tensors
            .iter()
            .flat_map(named)
            .map(|(name, _)| name.as_str())
            .take(4);
        let near = match names.collect::<Vec<_>>().join(", ") {
            names if names.is_empty() => String::new(),
            names => format!(", at {names}"),
        };
        let (kernel, entry) = (call.kernel, call.entry);
        format!(
            "{value} at step {step}, first in shaders/{kernel}.wgsl `{entry}` (dispatch {dispatch} of {of}{near})"
        )
    }
}
