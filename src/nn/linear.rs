//! Fully connected layer.

use std::ops::Range;

use super::{Context, Init, Parameters};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;
use crate::ops::Activation;

/// Fully connected layer: `y = x W^T + b`, with `weight: [out, in]` and `bias: [out]`.
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Creates the parameters `name.weight` and, if `bias`, `name.bias`.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn new(
        p: &mut Parameters,
        name: &str,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> Result<Linear, DeviceError> {
        Self::with_shape(p, name, &[outputs, inputs], bias)
    }

    /// Creates a layer whose inputs span several axes: `weight: [out, ..]`, as in a convolution
    /// over patches.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn with_shape(
        p: &mut Parameters,
        name: &str,
        shape: &[usize],
        bias: bool,
    ) -> Result<Linear, DeviceError> {
        let init = Init::Uniform {
            inputs: shape[1..].iter().product(),
        };
        p.scope(name, |p| {
            Ok(Linear {
                weight: p.create("weight", shape, init)?,
                bias: bias
                    .then(|| p.create("bias", &shape[..1], init))
                    .transpose()?,
            })
        })
    }

    /// Creates one fused layer from several without bias that take the same input.
    ///
    /// Their outputs lie side by side, `outputs` columns each. Each weight keeps its own name.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn group(
        p: &mut Parameters,
        names: &[&str],
        inputs: usize,
        outputs: usize,
    ) -> Result<Linear, DeviceError> {
        let names: Vec<String> = names.iter().map(|name| format!("{name}.weight")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Ok(Linear {
            weight: p.create_group(&names, &[outputs, inputs], Init::Uniform { inputs })?,
            bias: None,
        })
    }

    /// The parameter `bias: [out]`, if the layer has one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Maps `x: [.., in]` to `[.., out]`.
    pub fn forward(&self, c: &mut Context, x: Var) -> Var {
        self.activated(c, x, Activation::None)
    }

    /// Returns only the columns `outputs` of the output, without bias.
    ///
    /// Parts that do not overlap may train on one tape, but not a part beside the whole layer; see
    /// [`Tape::parameter`](crate::graph::Tape::parameter).
    pub fn part(&self, c: &mut Context, x: Var, outputs: Range<usize>) -> Var {
        let (rows, inputs) = (self.weight.shape()[0], self.weight.shape()[1]);
        let part = self
            .weight
            .part(outputs.start * inputs, &[outputs.len(), inputs]);
        let ends_aligned =
            outputs.end == rows || self.weight.part(outputs.end * inputs, &[0]).is_aligned();
        let weight = if part.is_aligned() && ends_aligned {
            c.parameter(&part)
        } else {
            let whole = c.parameter(&self.weight);
            let whole = c.tape.view(whole, &[1, rows, inputs]);
            let copy = c.tape.slice_rows(whole, outputs.start, outputs.len());
            c.tape.view(copy, &[outputs.len(), inputs])
        };
        c.tape.linear(x, weight, None, Activation::None)
    }

    /// Maps `x: [.., in]` to `[.., out]` and applies an activation.
    pub fn activated(&self, c: &mut Context, x: Var, activation: Activation) -> Var {
        let weight = c.parameter(&self.weight);
        let outputs = self.weight.shape()[0];
        let weight = c.tape.view(weight, &[outputs, self.weight.len() / outputs]);
        let bias = self.bias.as_ref().map(|bias| c.parameter(bias));
        c.tape.linear(x, weight, bias, activation)
    }
}
