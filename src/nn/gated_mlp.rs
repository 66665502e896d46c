//! Feed-forward network with a gate, as in Llama.

use super::{Context, Linear, Parameters};
use crate::device::DeviceError;
use crate::graph::Var;

/// Feed-forward network `down(silu(gate(x)) * up(x))` (Shazeer 2020).
pub struct GatedMlp {
    /// Gate and up as one fused layer.
    gate_up: Linear,
    down: Linear,
}

impl GatedMlp {
    /// Creates the parameters of the layers `gate_proj`, `up_proj` and `down_proj` with `hidden`
    /// values between them.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn new(
        p: &mut Parameters,
        width: usize,
        hidden: usize,
        bias: bool,
    ) -> Result<GatedMlp, DeviceError> {
        let members = [("gate_proj", hidden), ("up_proj", hidden)];
        Ok(GatedMlp {
            gate_up: Linear::group(p, &members, width, bias)?,
            down: Linear::new(p, "down_proj", hidden, width, bias)?,
        })
    }

    /// Maps `x: [.., width]` to `[.., width]`.
    pub fn forward(&self, c: &mut Context, x: Var) -> Var {
        // ANCHOR: forward
        let gate_up = self.gate_up.forward(c, x);
        let hidden = c.tape.swiglu(gate_up);
        self.down.forward(c, hidden)
        // ANCHOR_END: forward
    }
}
