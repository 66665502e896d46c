//! Fully connected layer.

use std::ops::Range;

use super::lora::Adapters;
use super::{Context, Init, Parameters, Weight};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;
use crate::ops::Activation;

/// Fully connected layer: `y = x W^T + b`, with `weight: [out, in]` and `bias: [out]`.
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    adapters: Option<Adapters>,
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
        Self::adapted(p, name, &[outputs, inputs], bias, false)
    }

    /// Creates the output layer of a language model, without bias.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold it.
    pub fn head(
        p: &mut Parameters,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Linear, DeviceError> {
        Self::adapted(p, name, &[outputs, inputs], false, true)
    }

    fn adapted(
        p: &mut Parameters,
        name: &str,
        shape: &[usize; 2],
        bias: bool,
        is_head: bool,
    ) -> Result<Linear, DeviceError> {
        let layer = Self::with_shape(p, name, shape, bias)?;
        let adapters = p.scope(name, |p| {
            Adapters::new(p, &[("", shape[0])], shape[1], is_head)
        })?;
        Ok(Linear { adapters, ..layer })
    }

    /// Whether all weights have fewer than 32 bits.
    pub fn is_packed(&self) -> bool {
        self.weight.is_packed()
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
                weight: p.weight("weight", shape, init)?,
                bias: bias
                    .then(|| p.create("bias", &shape[..1], init))
                    .transpose()?,
                adapters: None,
            })
        })
    }

    /// Creates one fused layer from several that take the same input, each with a name and a number
    /// of outputs.
    ///
    /// Their outputs lie side by side. Each weight and bias keeps its own name.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn group(
        p: &mut Parameters,
        members: &[(&str, usize)],
        inputs: usize,
        bias: bool,
    ) -> Result<Linear, DeviceError> {
        let init = Init::Uniform { inputs };
        let suffixed = |suffix: &str| -> Vec<(String, usize)> {
            let named = members.iter();
            named
                .map(|(name, outputs)| (format!("{name}.{suffix}"), *outputs))
                .collect()
        };
        fn by_str(named: &[(String, usize)]) -> Vec<(&str, usize)> {
            named
                .iter()
                .map(|(name, outputs)| (name.as_str(), *outputs))
                .collect()
        }
        let weight = p.weights(&by_str(&suffixed("weight")), &[inputs], init)?;
        let bias = bias.then(|| p.create_group(&by_str(&suffixed("bias")), &[], init));
        Ok(Linear {
            weight,
            bias: bias.transpose()?,
            adapters: Adapters::new(p, members, inputs, false)?,
        })
    }

    /// Creates the layer without bias whose weight is a matrix of the model that is used elsewhere
    /// too, such as its embeddings.
    pub fn tied(weight: Weight) -> Linear {
        Linear {
            weight,
            bias: None,
            adapters: None,
        }
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
    ///
    /// # Panics
    /// If the layer is not trained.
    pub fn part(&self, c: &mut Context, x: Var, outputs: Range<usize>) -> Var {
        let Weight::Trained(tensor) = &self.weight else {
            panic!("part of a layer that is not trained")
        };
        let (rows, inputs) = (tensor.shape()[0], tensor.shape()[1]);
        let part = tensor.part(outputs.start * inputs, &[outputs.len(), inputs]);
        let ends_aligned =
            outputs.end == rows || tensor.part(outputs.end * inputs, &[0]).is_aligned();
        let weight = if part.is_aligned() && ends_aligned {
            c.parameter(&part)
        } else {
            let whole = c.parameter(tensor);
            let whole = c.tape.view(whole, &[1, rows, inputs]);
            let copy = c.tape.slice_rows(whole, outputs.start, outputs.len());
            c.tape.view(copy, &[outputs.len(), inputs])
        };
        c.tape.linear(x, weight, None, Activation::None)
    }

    /// Maps `x: [.., in]` to `[.., out]` and applies an activation.
    pub fn activated(&self, c: &mut Context, x: Var, activation: Activation) -> Var {
        let bias = self.bias.as_ref().map(|bias| c.parameter(bias));
        let Some(adapters) = &self.adapters else {
            return self.weight.product(c, x, bias, activation);
        };
        let y = self.weight.product(c, x, bias, Activation::None);
        let y = adapters.add(c, x, y);
        c.tape.activation(y, activation)
    }
}
