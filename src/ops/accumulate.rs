//! Gradient accumulation over several runs of a plan.

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::native::elements;

static ACCUMULATE: Kernel = kernel!("accumulate").native(&[("forward", forward)]);

impl Tape {
    /// Records `acc += grad` in place, for a persistent `acc` of as many elements as `grad`.
    ///
    /// If `first: [1]`, a `u32` that the host writes, is not 0, `acc = grad` instead. Later
    /// dispatches that take `acc` read the sum.
    #[track_caller]
    pub fn accumulate(&mut self, acc: Var, grad: Var, first: Var) {
        let n = self.len(acc);
        assert!(
            self.len(grad) == n,
            "accumulate: gradient of shape {:?} into {:?}",
            self.shape(grad),
            self.shape(acc)
        );
        assert!(
            self.len(first) == 1,
            "accumulate: first of shape {:?}, want [1]",
            self.shape(first)
        );
        self.call(&ACCUMULATE, "forward")
            .bind("acc", acc)
            .bind("grad", grad)
            .bind("first", first)
            .param("n", n)
            .elements(n.div_ceil(4));
    }
}

fn forward(call: &NativeCall) {
    let (acc, grad) = (call.write::<f32>("acc"), call.read::<f32>("grad"));
    let first = call.read::<u32>("first")[0] != 0;
    elements(
        call,
        acc,
        #[inline(always)]
        |start, acc| {
            let grad = &grad[start..][..acc.len()];
            if first {
                acc.copy_from_slice(grad);
            } else {
                for (acc, grad) in acc.iter_mut().zip(grad) {
                    *acc += grad;
                }
            }
        },
    );
}

pub(super) mod checks {

    use crate::device::{Device, Plan, Tensor};
    use crate::ops::check::{Outcome, checks, ensure_eq};

    checks![restarts_at_each_first_run];

    fn restarts_at_each_first_run(device: &Device) -> Outcome {
        for n in [1, 1023, 1024, 1025, 70_001 * 4] {
            let acc = Tensor::new(device, &[n], &vec![f32::NAN; n])?;
            let mut tape = device.tape();
            let (bound, grad, first) = (tape.bind(&acc), tape.input(&[n]), tape.input(&[1]));
            tape.accumulate(bound, grad, first);
            let plan = Plan::new(device, tape)?;
            for (index, (flag, want)) in [(1u32, 1.0), (0, 3.0), (0, 6.0), (7, 4.0), (0, 9.0)]
                .into_iter()
                .enumerate()
            {
                plan.write(grad, &vec![index as f32 + 1.0; n]);
                plan.write(first, &[flag]);
                plan.run()?;
                ensure_eq!(acc.read::<f32>()?, vec![want; n]);
            }
        }
        Ok(())
    }
}
