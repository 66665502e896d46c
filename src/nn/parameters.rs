//! The named parameters of a model.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::gpu::{Gpu, GpuError, Tensor};

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

/// All parameters of a model in the order of their creation. A parameter's name is the path of the module that uses it.
pub struct Parameters {
    gpu: Gpu,
    rng: ChaCha8Rng,
    path: Vec<String>,
    named: Vec<(String, Tensor)>,
}

impl Parameters {
    pub fn new(gpu: &Gpu, seed: u64) -> Parameters {
        Parameters { gpu: gpu.clone(), rng: ChaCha8Rng::seed_from_u64(seed), path: vec![], named: vec![] }
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
    pub fn create(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor, GpuError> {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = match init {
            Init::Zeros => vec![0.0; count],
            Init::Ones => vec![1.0; count],
            Init::Normal(deviation) => (0..count).map(|_| deviation * self.normal()).collect(),
            Init::Uniform { inputs } => {
                let bound = 1.0 / (inputs as f32).sqrt();
                (0..count).map(|_| bound * (2.0 * self.uniform() - 1.0)).collect()
            }
        };
        let tensor = Tensor::new(&self.gpu, shape, &values)?;
        let mut path = self.path.clone();
        path.push(name.into());
        self.named.push((path.join("."), tensor.clone()));
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

    /// Names with their tensors, in the order of creation.
    pub fn into_named(self) -> Vec<(String, Tensor)> {
        self.named
    }
}
