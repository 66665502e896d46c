//! Creation and initialisation of a model's parameters.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{ParameterStore, Part, Role};
use crate::device::{Device, DeviceError, Tensor};

/// Initial values of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All elements are 0.
    Zeros,
    /// All elements are 1.
    Ones,
    /// Normal distribution with mean 0 and this standard deviation.
    Normal(f32),
    /// Uniform distribution on `[-1/sqrt(inputs), 1/sqrt(inputs)]`, as in PyTorch's `Linear` and
    /// `Conv2d`.
    Uniform {
        /// Number of inputs of the layer.
        inputs: usize,
    },
}

/// Creates the parameters of a model in the order that its modules ask for them.
///
/// The name of a parameter is the path of the module that uses it.
pub struct Parameters {
    store: ParameterStore,
    rng: ChaCha8Rng,
    path: Vec<String>,
    role: Role,
}

impl Parameters {
    /// Returns the value that `make` builds, and the store that holds its parameters.
    ///
    /// `make` is called twice: first to count the parameters, so that they can share a few large
    /// tensors, then to create them.
    ///
    /// # Errors
    /// Returns an error of `make`, or one about a device that cannot hold the parameters.
    pub fn build<T>(
        device: &Device,
        seed: u64,
        mut make: impl FnMut(&mut Parameters) -> Result<T, DeviceError>,
    ) -> Result<(T, ParameterStore), DeviceError> {
        let mut run = |store| {
            let mut parameters = Parameters {
                store,
                rng: ChaCha8Rng::seed_from_u64(seed),
                path: vec![],
                role: Role::DECODER,
            };
            Ok((make(&mut parameters)?, parameters.store))
        };
        let (_, counted) = run(ParameterStore::counting(device)?)?;
        run(counted.allocated(device)?)
    }

    /// Calls `make` with `name.` in front of the names of the parameters that it creates.
    pub fn scope<T>(&mut self, name: impl ToString, make: impl FnOnce(&mut Parameters) -> T) -> T {
        self.path.push(name.to_string());
        let made = make(self);
        self.path.pop();
        made
    }

    /// Calls `make` with `role` as the role of the parameters that it creates.
    pub fn with_role<T>(&mut self, role: Role, make: impl FnOnce(&mut Parameters) -> T) -> T {
        let outer = std::mem::replace(&mut self.role, role);
        let made = make(self);
        self.role = outer;
        made
    }

    /// Part of the model that parameters created now belong to.
    pub fn part(&self) -> Part {
        self.role.part
    }

    /// Path of the module being created, such as `blocks.0.attn`.
    pub fn path(&self) -> String {
        self.path.join(".")
    }

    /// Creates the parameter `path.name`.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold it.
    pub fn create(
        &mut self,
        name: &str,
        shape: &[usize],
        init: Init,
    ) -> Result<Tensor, DeviceError> {
        self.create_group(&[name], shape, init)
    }

    /// Creates parameters `path.name`, each of `shape`, that are used as one tensor of shape
    /// `[names * shape[0], shape[1], ..]`.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn create_group(
        &mut self,
        names: &[&str],
        shape: &[usize],
        init: Init,
    ) -> Result<Tensor, DeviceError> {
        let path = |name: &str| {
            self.path
                .iter()
                .map(String::as_str)
                .chain([name])
                .collect::<Vec<_>>()
                .join(".")
        };
        let names: Vec<String> = names.iter().map(|name| path(name)).collect();
        let tensor = self.store.add(&names, shape, self.role)?;
        if self.store.is_counting() {
            return Ok(tensor);
        }
        let values: Vec<f32> = match init {
            Init::Zeros => vec![0.0; tensor.len()],
            Init::Ones => vec![1.0; tensor.len()],
            Init::Normal(deviation) => (0..tensor.len())
                .map(|_| deviation * self.normal())
                .collect(),
            Init::Uniform { inputs } => {
                let bound = 1.0 / (inputs as f32).sqrt();
                (0..tensor.len())
                    .map(|_| bound * (2.0 * self.uniform() - 1.0))
                    .collect()
            }
        };
        tensor.write(&values);
        Ok(tensor)
    }

    /// Draws from the uniform distribution on [0, 1).
    fn uniform(&mut self) -> f32 {
        (self.rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Draws from the standard normal distribution, by the Box-Muller transform.
    fn normal(&mut self) -> f32 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
    }
}
