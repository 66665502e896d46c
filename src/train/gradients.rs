//! The gradients of all parameters, laid out as the parameters are.

use crate::device::{Device, DeviceError, Tensor};
use crate::graph::{Tape, Var};
use crate::nn::ParameterStore;

/// One gradient for each parameter of a model, in as few tensors as the parameters.
pub struct Gradients {
    flats: Vec<Tensor>,
    named: Vec<(String, Tensor)>,
}

impl Gradients {
    /// Room for the gradients of the parameters in `storage`.
    pub fn new(device: &Device, storage: &ParameterStore) -> Result<Gradients, DeviceError> {
        let flats = storage.zeros(device)?;
        Ok(Gradients {
            named: storage.named_in(&flats),
            flats,
        })
    }

    /// Has the backward program that `t` holds write its gradients here.
    ///
    /// # Panics
    /// When the loss does not depend on a parameter that `trains` accepts by name.
    #[track_caller]
    pub fn place(&self, t: &mut Tape, storage: &ParameterStore, trains: impl Fn(&str) -> bool) {
        let mut reached = vec![];
        for (parameter, tensor) in t.parameters() {
            let (Some(grad), Some(place)) =
                (t.grad(parameter), storage.counterpart(&tensor, &self.flats))
            else {
                continue;
            };
            t.place(grad, &place);
            reached.push(tensor);
        }
        if let Some(name) = storage.not_covered(&reached).find(|name| trains(name)) {
            panic!("the loss does not depend on parameter {name}");
        }
    }

    /// The tensors that hold all gradients, with padding between them.
    pub fn bind(&self, t: &mut Tape) -> Vec<Var> {
        self.flats.iter().map(|flat| t.bind(flat)).collect()
    }

    /// The gradients by the names of their parameters.
    pub fn named(&self) -> &[(String, Tensor)] {
        &self.named
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.flats.iter().map(|flat| 4 * flat.len() as u64).sum()
    }
}
