//! Programs with their memory and bodies at hand.

use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::memory::Array;
use super::{Arrays, Shared};
use crate::device::DeviceError;
use crate::device::executor::{Bound, Prepared, Range, Read, Times};
use crate::graph::{Dispatch, Native, NativeArg, NativeCall};

/// Memory of an argument.
struct Arg {
    array: Arc<Array>,
    offset: u64,
    elements: usize,
}

struct Step {
    dispatch: Dispatch,
    body: Native,
    args: Vec<Arg>,
}

/// A program, ready to run on the processor.
pub(super) struct CpuProgram {
    shared: Arc<Shared>,
    steps: Vec<Step>,
}

/// Looks up the body of each dispatch and the memory of its arguments.
///
/// # Errors
/// A kernel without a Rust body.
pub(super) fn prepare(shared: &Arc<Shared>, schedule: &[Bound]) -> Result<CpuProgram, DeviceError> {
    let arrays = shared.arrays();
    let step = |bound: &Bound| -> Result<Step, DeviceError> {
        let dispatch = bound.dispatch.clone();
        let body = dispatch.kernel.body(&dispatch.entry.name);
        let body = body.ok_or_else(|| DeviceError::NoNativeBody {
            place: dispatch.place(),
        })?;
        let args = bound.args.iter().zip(&dispatch.shapes);
        let args = args.map(|(range, shape)| {
            let arg = Arg {
                array: arrays.of(range.id).clone(),
                offset: range.offset,
                elements: shape.iter().product(),
            };
            // panics unless it is in the array
            arg.start();
            arg
        });
        Ok(Step {
            args: args.collect(),
            body,
            dispatch,
        })
    };
    let steps = schedule.iter().map(step).collect::<Result<_, _>>()?;
    Ok(CpuProgram {
        shared: shared.clone(),
        steps,
    })
}

impl Arg {
    fn start(&self) -> *mut u32 {
        self.array.at(self.offset, 4 * self.elements as u64).cast()
    }
}

impl CpuProgram {
    /// Runs one dispatch. The caller holds the lock of the arrays.
    #[allow(unsafe_code)]
    fn run(&self, step: &Step, _locked: &Arrays) {
        let args: Vec<NativeArg> = step
            .args
            .iter()
            // SAFETY: arrays are used under their lock alone; plans check that what a dispatch
            // writes overlaps nothing else that it uses
            .map(|arg| unsafe { NativeArg::new(arg.start(), arg.elements) })
            .collect();
        NativeCall::new(&step.dispatch, &args, &self.shared.threads).run(step.body);
    }

    fn run_all(&self, after: impl FnMut()) {
        self.run_some(&self.steps, after);
    }

    fn run_some(&self, steps: &[Step], mut after: impl FnMut()) {
        let arrays = self.shared.arrays();
        let _awake = self.shared.threads.keep_awake();
        for step in steps {
            self.run(step, &arrays);
            after();
        }
    }
}

impl Prepared for CpuProgram {
    fn submit(&self) -> Result<(), DeviceError> {
        self.run_all(|| ());
        Ok(())
    }

    fn submit_and_read(&self, range: Range) -> Read {
        self.run_all(|| ());
        let words = self.shared.arrays().of(range.id).read(range, vec![]);
        Box::pin(ready(Ok(words)))
    }

    fn submit_some(&self, dispatches: std::ops::Range<usize>) -> Result<(), DeviceError> {
        self.run_some(&self.steps[dispatches], || ());
        Ok(())
    }

    fn times(&self) -> Times<'_> {
        let mut times: Vec<Duration> = Vec::with_capacity(self.steps.len());
        let mut last = Instant::now();
        self.run_all(|| {
            let now = Instant::now();
            times.push(now - last);
            last = now;
        });
        Box::pin(ready(Ok(Some(times))))
    }
}
