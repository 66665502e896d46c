//! Gradients of all parameters.

use crate::device::{Device, DeviceError, Tensor};
use crate::graph::{Tape, Var};
use crate::nn::{ParameterInfo, ParameterStore};

/// Gradients of all parameters of a model, packed into as few tensors as the parameters.
pub struct Gradients {
    flats: Vec<Tensor>,
    named: Vec<(String, Tensor)>,
}

impl Gradients {
    /// Allocates the gradients of the parameters in `storage`.
    pub fn new(device: &Device, storage: &ParameterStore) -> Result<Gradients, DeviceError> {
        let flats = storage.zeros(device)?;
        Ok(Gradients {
            named: storage.named_in(&flats),
            flats,
        })
    }

    /// Makes the backward pass recorded on `t` write its gradients here.
    ///
    /// # Panics
    /// If the loss does not depend on a parameter that `trains` accepts.
    #[track_caller]
    pub fn place(
        &self,
        t: &mut Tape,
        storage: &ParameterStore,
        trains: impl Fn(&ParameterInfo) -> bool,
    ) {
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
        if let Some(info) = storage.not_covered(&reached).find(|info| trains(info)) {
            panic!("the loss does not depend on parameter {}", info.name);
        }
    }

    /// Returns the packed gradients, with padding between parameters, as variables of `t`.
    pub fn bind(&self, t: &mut Tape) -> Vec<Var> {
        self.flats.iter().map(|flat| t.bind(flat)).collect()
    }

    /// Returns the gradients by the names of their parameters.
    pub fn named(&self) -> &[(String, Tensor)] {
        &self.named
    }

    /// Returns the tensors that hold the gradients.
    pub(super) fn into_tensors(self) -> Vec<Tensor> {
        self.flats
    }

    /// Returns the device memory, in bytes.
    pub fn bytes(&self) -> u64 {
        self.flats.iter().map(|flat| 4 * flat.len() as u64).sum()
    }
}
