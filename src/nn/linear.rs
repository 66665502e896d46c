//! Fully connected layer.

use super::{Context, Init, Parameters};
use crate::gpu::{GpuError, Tensor};
use crate::ops::Activation;
use crate::tape::Var;

/// `y = x W^T + b`, with `weight: [out, in]` and `bias: [out]`.
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub fn new(p: &mut Parameters, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear, GpuError> {
        Self::with_shape(p, name, &[outputs, inputs], bias)
    }

    /// A layer whose inputs span several axes: `weight: [out, ..]`, as in a convolution over patches.
    pub fn with_shape(p: &mut Parameters, name: &str, shape: &[usize], bias: bool) -> Result<Linear, GpuError> {
        let init = Init::Uniform { inputs: shape[1..].iter().product() };
        p.scope(name, |p| {
            Ok(Linear { weight: p.create("weight", shape, init)?, bias: bias.then(|| p.create("bias", &shape[..1], init)).transpose()? })
        })
    }

    /// `x: [.., in] -> [.., out]`.
    pub fn forward(&self, c: &mut Context, x: Var) -> Var {
        self.activated(c, x, Activation::None)
    }

    /// The same with an activation after it.
    pub fn activated(&self, c: &mut Context, x: Var, activation: Activation) -> Var {
        let weight = c.parameter(&self.weight);
        let outputs = self.weight.shape()[0];
        c.tape.reshape(weight, &[outputs, self.weight.len() / outputs]);
        let bias = self.bias.as_ref().map(|bias| c.parameter(bias));
        c.tape.linear(x, weight, bias, activation)
    }
}
