//! The named parameters of a model.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ParameterStore;
use crate::device::{Device, DeviceError, Tensor};

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
    /// Uniform in plus or minus one over the root of the number of inputs, as PyTorch's `Linear` and `Conv2d`.
    Uniform {
        inputs: usize,
    },
}

/// Makes the parameters of a model in the order that its modules ask for them. A parameter's name is the path of the module
/// that uses it.
pub struct Parameters {
    storage: ParameterStore,
    rng: ChaCha8Rng,
    path: Vec<String>,
}

impl Parameters {
    /// What `make` makes, and where its parameters lie: all in one buffer. Therefore `make` is called twice, first to learn
    /// how many numbers there are.
    pub fn build<T>(
        device: &Device,
        seed: u64,
        mut make: impl FnMut(&mut Parameters) -> Result<T, DeviceError>,
    ) -> Result<(T, ParameterStore), DeviceError> {
        let mut run = |storage| {
            let mut parameters = Parameters {
                storage,
                rng: ChaCha8Rng::seed_from_u64(seed),
                path: vec![],
            };
            Ok((make(&mut parameters)?, parameters.storage))
        };
        let (_, counted) = run(ParameterStore::counting(device)?)?;
        run(counted.allocated(device)?)
    }

    /// Creates what `make` creates under `name.`.
    pub fn scope<T>(&mut self, name: impl ToString, make: impl FnOnce(&mut Parameters) -> T) -> T {
        self.path.push(name.to_string());
        let made = make(self);
        self.path.pop();
        made
    }

    /// The path of the module being created.
    pub fn path(&self) -> String {
        self.path.join(".")
    }

    /// A new parameter `path.name`.
    pub fn create(
        &mut self,
        name: &str,
        shape: &[usize],
        init: Init,
    ) -> Result<Tensor, DeviceError> {
        self.create_group(&[name], shape, init)
    }

    /// New parameters `path.name`, each of `shape`, that are used as one: below each other in a tensor of the shape
    /// `[names * shape[0], shape[1], ..]`.
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
        let tensor = self.storage.add(&names, shape)?;
        if self.storage.is_counting() {
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

    /// Uniform in [0, 1).
    fn uniform(&mut self) -> f32 {
        (self.rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Standard normal, by the Box-Muller transform.
    fn normal(&mut self) -> f32 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
    }
}
