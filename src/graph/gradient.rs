//! Reverse-mode automatic differentiation: gradients are recorded as further dispatches of the same
//! tape.

use std::collections::BTreeMap;

use super::dispatch::Dispatch;
use super::tape::Home;
use super::{Tape, Var};

/// What [`Tape::backward`] appends; the last recorded comes first.
pub(super) enum Pullback {
    /// The gradients of an op's inputs.
    Gradient(Box<dyn FnOnce(&mut Tape)>),
    /// The forward dispatches of a segment, for the gradients recorded in it.
    Recompute(Vec<Dispatch>),
}

/// Start of a segment whose values are recomputed in the backward pass: see [`Tape::segment`].
#[must_use = "a segment ends with `recompute`"]
pub struct Segment {
    dispatches: usize,
    variables: usize,
    pullbacks: usize,
}

impl Tape {
    /// Returns whether a gradient with respect to `v` is wanted; if not, no backward work may be
    /// recorded for it.
    pub fn needs_grad(&self, v: Var) -> bool {
        self.variable_of(v).grad
    }

    /// Records how the gradient of `out` flows to `inputs`.
    ///
    /// The closure receives d loss / d out and calls [`add_grad`](Self::add_grad) for every input
    /// that [`needs_grad`](Self::needs_grad).
    pub fn record(
        &mut self,
        out: Var,
        inputs: &[Var],
        backward: impl FnOnce(&mut Tape, Var) + 'static,
    ) {
        self.record_many([out], inputs, |t, [dout]| {
            if let Some(dout) = dout {
                backward(t, dout);
            }
        });
    }

    /// Records how the gradients of several outputs of one op flow to its inputs.
    ///
    /// The closure receives the gradients once those of all outputs are complete, with `None` for
    /// an output that the loss does not depend on. It is not called if there is none at all.
    pub fn record_many<const N: usize>(
        &mut self,
        outs: [Var; N],
        inputs: &[Var],
        backward: impl FnOnce(&mut Tape, [Option<Var>; N]) + 'static,
    ) {
        if !inputs.iter().any(|&v| self.needs_grad(v)) {
            return;
        }
        for out in outs {
            self.want_grad(out);
        }
        self.pullbacks.push(Pullback::Gradient(Box::new(move |t| {
            let douts = outs.map(|out| t.grad(out));
            if douts.iter().any(Option::is_some) {
                backward(t, douts);
            }
        })));
    }

    /// Starts a segment whose intermediate values are not kept for the backward pass but computed
    /// again there: activation checkpointing (Chen et al. 2016).
    ///
    /// It costs the segment's forward pass a second time; results are the same, bit for bit.
    pub fn segment(&mut self) -> Segment {
        Segment {
            dispatches: self.dispatches.len(),
            variables: self.variables.len(),
            pullbacks: self.pullbacks.len(),
        }
    }

    /// Ends a segment. Of everything it computed, only `outputs` may be used afterwards.
    ///
    /// Gradients recorded in the segment read its values. The forward pass therefore writes to
    /// fresh values that nothing reads later, and the same dispatches, repeated in
    /// [`backward`](Self::backward), write the original ones.
    ///
    /// # Panics
    /// If the segment changes a tensor in place, which must not happen twice.
    #[track_caller]
    pub fn recompute(&mut self, segment: Segment, outputs: &[Var]) {
        if self.pullbacks.len() == segment.pullbacks {
            return;
        }
        let outputs: Vec<Var> = outputs.iter().map(|&v| self.root(v)).collect();
        let mut again = self.dispatches[segment.dispatches..].to_vec();
        let mut forward = BTreeMap::new();
        for index in segment.variables..self.variables.len() {
            let v = Var(index as u32);
            if matches!(self.variable_of(v).home, Home::Transient) && !outputs.contains(&v) {
                forward.insert(v, self.like(v));
            }
        }
        for v in self.dispatches[segment.dispatches..]
            .iter_mut()
            .flat_map(|dispatch| &mut dispatch.args)
        {
            *v = forward.get(v).copied().unwrap_or(*v);
        }
        // outputs exist already: the second pass writes them where nobody reads, and liveness
        // removes what serves only them
        for dispatch in &mut again {
            let written: Vec<Var> = dispatch.written().collect();
            for v in written {
                assert!(
                    !matches!(self.variable_of(v).home, Home::Tensor(_)),
                    "{} changes a tensor and would run twice",
                    dispatch.place()
                );
                if outputs.contains(&v) {
                    let unread = self.like(v);
                    dispatch
                        .args
                        .iter_mut()
                        .filter(|arg| **arg == v)
                        .for_each(|arg| *arg = unread);
                }
            }
        }
        // values derived here from values outside no longer exist
        let inside = |v: Var| v.0 as usize >= segment.variables;
        let keep: Vec<(&'static str, Var)> = self
            .derived
            .iter()
            .filter(|&(&(_, v), &made)| {
                let transient = matches!(self.variable_of(self.root(v)).home, Home::Transient);
                !inside(made) || inside(v) && transient
            })
            .map(|(&key, _)| key)
            .collect();
        self.derived.retain(|key, _| keep.contains(key));
        self.pullbacks.push(Pullback::Recompute(again));
    }

    /// Adds `dv` to the gradient of `v`. This is the only place where gradients meet.
    ///
    /// # Panics
    /// If the two have different numbers of elements.
    #[track_caller]
    pub fn add_grad(&mut self, v: Var, dv: Var) {
        if !self.needs_grad(v) {
            return;
        }
        assert!(
            self.len(v) == self.len(dv),
            "gradient of shape {:?} for a value of shape {:?}",
            self.shape(dv),
            self.shape(v)
        );
        let sum = match self.grads.get(&v) {
            None => dv,
            Some(&before) => self.add(before, dv),
        };
        self.grads.insert(v, sum);
    }

    /// Appends the backward program of `out` for the cotangent `seed`, d loss / d out.
    #[track_caller]
    pub fn backward(&mut self, out: Var, seed: Var) {
        // ANCHOR: backward
        self.add_grad(out, seed);
        // a value's users were recorded after its producer, so its gradient is complete when the
        // producer's turn comes
        for pullback in std::mem::take(&mut self.pullbacks).into_iter().rev() {
            match pullback {
                Pullback::Gradient(backward) => backward(self),
                Pullback::Recompute(dispatches) => self.dispatches.extend(dispatches),
            }
        }
        // ANCHOR_END: backward
    }

    /// Returns the gradient of `v` after [`backward`](Self::backward), unless `out` does not depend
    /// on it.
    pub fn grad(&self, v: Var) -> Option<Var> {
        self.grads.get(&v).copied()
    }
}
