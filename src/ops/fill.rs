//! Constants of any shape.

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::native::elements;

static FILL: Kernel = kernel!("fill").native(&[("forward", forward)]);

impl Tape {
    /// Records a value of the given shape with all elements equal to `value`.
    #[track_caller]
    pub fn fill(&mut self, shape: &[usize], value: f32) -> Var {
        let y = self.output(shape);
        let n = self.len(y);
        self.call(&FILL, "forward")
            .bind("y", y)
            .param("n", n)
            .param("value", value)
            .elements(n.div_ceil(4));
        y
    }
}

fn forward(call: &NativeCall) {
    let value = call.float("value");
    elements(
        call,
        call.write::<f32>("y"),
        #[inline(always)]
        |_, y| y.fill(value),
    );
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::ops::check::{Outcome, checks, forward};

    checks![agrees_with_its_reference];

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for n in [1, 1023, 1024, 1025, 70_000 * 3] {
            forward(
                device,
                &[[&[n]]],
                |t, [x]| t.fill(&[t.len(x)], 1.5),
                |[x]| x.map(|_| 1.5),
            )?;
        }
        Ok(())
    }
}
