//! Creation and initialisation of a model's parameters.

use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{FrozenRows, LoraConfig, ParameterStore, Part, Role, Storage, Weight};
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
    device: Device,
    store: ParameterStore,
    /// How to keep the weight matrix of a name.
    storage: StorageOf,
    /// Draws initial values; `None` where a file has them.
    rng: Option<ChaCha8Rng>,
    /// Adapters of layers.
    lora: Option<Arc<LoraConfig>>,
    /// Draws initial values of adapters; `None` where a file has them.
    lora_rng: Option<ChaCha8Rng>,
    path: Vec<String>,
    role: Role,
}

/// Encodings are chosen so that rows are whole blocks.
const WHOLE_BLOCKS: &str = "rows are whole blocks";

/// Decides how to keep the weight matrix of a name in a part of the model.
pub type StorageOf = Arc<dyn Fn(&str, Part) -> Storage + Send + Sync>;

/// How the parameters of a model are kept that a file has the values of.
#[derive(Clone)]
pub struct Kept {
    /// How to keep each weight matrix.
    pub storage: StorageOf,
    /// Adapters of layers.
    pub lora: Option<Arc<LoraConfig>>,
    /// Seed of the adapters' initial values, if the file does not have them.
    pub lora_seed: Option<u64>,
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
        let kept = Kept {
            storage: Arc::new(|_, _| Storage::Trained),
            lora: None,
            lora_seed: None,
        };
        let rng = Some(ChaCha8Rng::seed_from_u64(seed));
        let mut run = |store| Self::run(device, store, &kept, rng.clone(), &mut make);
        let (_, counted) = run(ParameterStore::counting(device)?)?;
        run(counted.allocated(device)?)
    }

    /// Returns the value that `make` builds, and the store that holds its parameters, all zeros
    /// until they are filled from a file, except new adapters. Weight matrices are kept as `kept`
    /// says.
    ///
    /// `check` sees the names and shapes before anything is allocated.
    ///
    /// # Errors
    /// Returns an error of `check` or `make`, or one about a device that cannot hold the
    /// parameters.
    pub fn unfilled<T, E: From<DeviceError>>(
        device: &Device,
        kept: Kept,
        mut make: impl FnMut(&mut Parameters) -> Result<T, DeviceError>,
        check: impl FnOnce(&ParameterStore) -> Result<(), E>,
    ) -> Result<(T, ParameterStore), E> {
        let mut run = |store| Self::run(device, store, &kept, None, &mut make);
        let (_, counted) = run(ParameterStore::counting(device)?)?;
        check(&counted)?;
        Ok(run(counted.allocated(device)?)?)
    }

    fn run<T>(
        device: &Device,
        store: ParameterStore,
        kept: &Kept,
        rng: Option<ChaCha8Rng>,
        make: &mut impl FnMut(&mut Parameters) -> Result<T, DeviceError>,
    ) -> Result<(T, ParameterStore), DeviceError> {
        let mut parameters = Parameters {
            device: device.clone(),
            store,
            storage: kept.storage.clone(),
            rng,
            lora: kept.lora.clone(),
            lora_rng: kept.lora_seed.map(ChaCha8Rng::seed_from_u64),
            path: vec![],
            role: Role::DECODER,
        };
        Ok((make(&mut parameters)?, parameters.store))
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

    /// As [`scope`](Self::scope), under the name of a module.
    pub(super) fn scope_of<T>(&mut self, name: &str, make: impl FnOnce(&mut Parameters) -> T) -> T {
        match name.is_empty() {
            true => make(self),
            false => self.scope(name, make),
        }
    }

    /// Adapters that layers get.
    pub(super) fn lora(&self) -> Option<Arc<LoraConfig>> {
        self.lora.clone()
    }

    /// Path of a module with this name; of the module being created if it is empty.
    pub(super) fn module(&self, name: &str) -> String {
        match name.is_empty() {
            true => self.path(),
            false => self.named(&[(name, 0)]).remove(0).0,
        }
    }

    /// Creates a parameter of an adapter.
    pub(super) fn create_adapter(
        &mut self,
        name: &str,
        shape: &[usize],
        init: Init,
    ) -> Result<Tensor, DeviceError> {
        let own = std::mem::take(&mut self.lora_rng);
        let model = std::mem::replace(&mut self.rng, own);
        let created = self.create(name, shape, init);
        self.lora_rng = std::mem::replace(&mut self.rng, model);
        created
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
        self.create_group(&[(name, shape[0])], &shape[1..], init)
    }

    /// Creates parameters `path.name` that are used as one tensor, each with a name and a length of
    /// its first axis. `rest` are the other axes.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn create_group(
        &mut self,
        members: &[(&str, usize)],
        rest: &[usize],
        init: Init,
    ) -> Result<Tensor, DeviceError> {
        let members = self.named(members);
        let tensor = self.store.add(&members, rest, self.role)?;
        if !self.store.is_counting()
            && let Some(values) = self.draw(tensor.len(), init)
        {
            tensor.write(&values);
        }
        Ok(tensor)
    }

    /// Creates the weight matrix `path.name`; axes after the first count as columns.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold it.
    pub fn weight(
        &mut self,
        name: &str,
        shape: &[usize],
        init: Init,
    ) -> Result<Weight, DeviceError> {
        self.weights(&[(name, shape[0])], &shape[1..], init)
    }

    /// Creates weight matrices `path.name` that are used as one, each with a name and a number of
    /// rows. `rest` are the axes that count as columns.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn weights(
        &mut self,
        members: &[(&str, usize)],
        rest: &[usize],
        init: Init,
    ) -> Result<Weight, DeviceError> {
        let named = self.named(members);
        let storage: Vec<Storage> = named
            .iter()
            .map(|(name, _)| (self.storage)(name, self.role.part))
            .collect();
        if storage.contains(&Storage::Trained) {
            return Ok(Weight::Trained(self.create_group(members, rest, init)?));
        }
        let mut blocks: Vec<FrozenRows> = vec![];
        let mut start = 0;
        while start < named.len() {
            let Storage::Frozen(encoding) = storage[start] else {
                unreachable!("no member is trained")
            };
            let same = storage[start..]
                .iter()
                .take_while(|other| **other == storage[start]);
            let end = start + same.count();
            let members = &named[start..end];
            let (device, role) = (&self.device, self.role);
            let words = encoding
                .row_words(rest.iter().product())
                .expect(WHOLE_BLOCKS);
            let most = (device.max_elements() / words.max(1)).max(1);
            blocks.extend(
                self.store
                    .add_frozen(device, members, rest, role, encoding, most)?,
            );
            start = end;
        }
        Ok(Weight::Frozen(blocks))
    }

    /// Returns a tensor of fixed values that is no parameter, such as a table of angles.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold it.
    pub fn constant(
        &mut self,
        shape: &[usize],
        values: impl FnOnce() -> Vec<f32>,
    ) -> Result<Tensor, DeviceError> {
        match self.store.placeholder(shape) {
            Some(placeholder) => Ok(placeholder),
            None => Tensor::new(&self.device, shape, &values()),
        }
    }

    /// Returns the members with their paths.
    fn named(&self, members: &[(&str, usize)]) -> Vec<(String, usize)> {
        let path = |name: &str| {
            self.path
                .iter()
                .map(String::as_str)
                .chain([name])
                .collect::<Vec<_>>()
                .join(".")
        };
        members
            .iter()
            .map(|&(name, rows)| (path(name), rows))
            .collect()
    }

    /// Draws initial values, unless a file has them.
    fn draw(&mut self, len: usize, init: Init) -> Option<Vec<f32>> {
        let rng = self.rng.as_mut()?;
        Some(match init {
            Init::Zeros => vec![0.0; len],
            Init::Ones => vec![1.0; len],
            Init::Normal(deviation) => (0..len).map(|_| deviation * normal(rng)).collect(),
            Init::Uniform { inputs } => {
                let bound = 1.0 / (inputs as f32).sqrt();
                (0..len)
                    .map(|_| bound * (2.0 * uniform(rng) - 1.0))
                    .collect()
            }
        })
    }
}

/// Draws from the uniform distribution on [0, 1).
fn uniform(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}

/// Draws from the standard normal distribution, by the Box-Muller transform.
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let (u, v) = (1.0 - uniform(rng), uniform(rng));
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}
