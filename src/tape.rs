//! Records dispatches symbolically, and what their gradients are. Nothing runs until a [`Plan`](crate::plan::Plan)
//! gives the recording buffers.

use std::collections::BTreeMap;

use crate::gpu::{Capabilities, Tensor};
use crate::kernel::{Access, Entry, Kernel};

/// A value of the recorded program: an array of 4-byte elements with a shape. Only meaningful on its tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Var(pub(crate) u32);

/// Where a variable's numbers live.
pub(crate) enum Home {
    /// In a buffer of the plan that it may share with variables that live at other times.
    Transient,
    /// In a buffer of its own that the host may write and read.
    Held,
    /// In a tensor that outlives the plan.
    Tensor(Tensor),
}

pub(crate) struct Variable {
    pub shape: Vec<usize>,
    pub home: Home,
    /// Whether a gradient is wanted for it.
    grad: bool,
}

pub(crate) struct Dispatch {
    pub kernel: &'static Kernel,
    pub entry: &'static Entry,
    /// One per binding of the entry point that is not `params`, in binding order.
    pub args: Vec<Var>,
    pub params: Vec<u8>,
    pub constants: Vec<(&'static str, f64)>,
    /// Workgroups in x, y and z.
    pub grid: [u32; 3],
}

impl Dispatch {
    /// The variables with how they are used.
    pub fn uses(&self) -> impl Iterator<Item = (Var, Access)> {
        let accesses = self.entry.bindings.iter().map(|binding| binding.access).filter(|&access| access != Access::Params);
        self.args.iter().copied().zip(accesses)
    }
}

/// The forms that an op could be recorded in.
pub struct Candidates<'a> {
    /// Names the op and what of its shapes decides how fast the forms are. One answer serves all of a class.
    pub class: &'a str,
    /// The forms, the one of the fixed rule first.
    pub names: &'a [&'a str],
    /// So many of them, from the first, are worth measuring.
    pub plausible: usize,
    /// Records an op of this class in the form of the given index.
    pub record: &'a dyn Fn(&mut Tape, usize),
}

/// Decides in which form an op is recorded. Its answer to a class must never change: with it would the results, bit for bit.
pub trait Choose: std::fmt::Debug + Send + Sync {
    /// The index of one of the candidates.
    fn choose(&self, candidates: &Candidates) -> usize;
}

/// Chooses the form of one name wherever an op has it, else that of the fixed rule.
#[derive(Debug)]
pub struct Always(pub &'static str);

impl Choose for Always {
    fn choose(&self, candidates: &Candidates) -> usize {
        candidates.names.iter().position(|name| *name == self.0).unwrap_or(0)
    }
}

/// What the operands of matrix products are rounded to. Sums and results are f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    #[default]
    F32,
    F16,
}

type Backward = Box<dyn FnOnce(&mut Tape, Var)>;

/// A recording of dispatches with the closures that append their gradients.
pub struct Tape {
    capabilities: Capabilities,
    pub(crate) variables: Vec<Variable>,
    pub(crate) program: Vec<Dispatch>,
    pullbacks: Vec<(Var, Backward)>,
    grads: BTreeMap<Var, Var>,
    sites: u32,
    precision: Precision,
    /// What was recorded of a variable to serve more than one op.
    known: BTreeMap<(&'static str, Var), Var>,
}

/// The most workgroups that one dimension of a dispatch may have, on every adapter.
pub const MAX_GROUPS: usize = 65_535;

impl Tape {
    /// An empty recording for adapters of the given capabilities.
    pub fn new(capabilities: Capabilities) -> Tape {
        Tape {
            capabilities,
            variables: vec![],
            program: vec![],
            pullbacks: vec![],
            grads: BTreeMap::new(),
            sites: 0,
            precision: Precision::F32,
            known: BTreeMap::new(),
        }
    }

    pub fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    /// Makes `chooser` decide between forms from here on.
    #[cfg(test)]
    pub(crate) fn choose_by(&mut self, chooser: std::sync::Arc<dyn Choose>) {
        self.capabilities.chooser = Some(chooser);
    }

    /// Rounds the operands of the matrix products that are recorded from here on, and of those of their gradients.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    fn add_variable(&mut self, shape: &[usize], home: Home, grad: bool) -> Var {
        self.variables.push(Variable { shape: shape.to_vec(), home, grad });
        Var(self.variables.len() as u32 - 1)
    }

    /// A value that the host writes before a run. No gradient flows to it.
    pub fn input(&mut self, shape: &[usize]) -> Var {
        self.add_variable(shape, Home::Held, false)
    }

    /// An input whose gradient is wanted.
    pub fn variable(&mut self, shape: &[usize]) -> Var {
        self.add_variable(shape, Home::Held, true)
    }

    /// Persistent numbers without a gradient: caches, optimizer state, frozen parameters.
    /// The same tensor bound again gives the same variable.
    pub fn bind(&mut self, tensor: &Tensor) -> Var {
        let known = self.variables.iter().position(|v| matches!(&v.home, Home::Tensor(t) if t.same(tensor)));
        match known {
            Some(index) => Var(index as u32),
            None => self.add_variable(tensor.shape(), Home::Tensor(tensor.clone()), false),
        }
    }

    /// Persistent numbers whose gradient is wanted.
    pub fn parameter(&mut self, tensor: &Tensor) -> Var {
        let var = self.bind(tensor);
        self.variables[var.0 as usize].grad = true;
        var
    }

    /// A new intermediate value; the next dispatch that takes it must write all of it.
    pub fn output(&mut self, shape: &[usize]) -> Var {
        self.add_variable(shape, Home::Transient, false)
    }

    /// A new intermediate value of the shape of `v`.
    pub fn like(&mut self, v: Var) -> Var {
        let shape = self.shape(v).to_vec();
        self.output(&shape)
    }

    /// Keeps `v` in a buffer of its own, so that it can be read after a run.
    pub fn hold(&mut self, v: Var) {
        let home = &mut self.variables[v.0 as usize].home;
        if matches!(home, Home::Transient) {
            *home = Home::Held;
        }
    }

    pub fn shape(&self, v: Var) -> &[usize] {
        &self.variables[v.0 as usize].shape
    }

    /// Number of elements.
    pub fn len(&self, v: Var) -> usize {
        self.shape(v).iter().product()
    }

    /// The last axis, and the product of all others: the value seen as a matrix `[rows, cols]`.
    pub fn rows_cols(&self, v: Var) -> (usize, usize) {
        let cols = *self.shape(v).last().unwrap_or(&1);
        (self.len(v) / cols.max(1), cols)
    }

    /// Gives `v` another shape of as many elements, without any work on the device.
    #[track_caller]
    pub fn reshape(&mut self, v: Var, shape: &[usize]) {
        assert!(self.len(v) == shape.iter().product::<usize>(), "reshape: {:?} has not as many elements as {shape:?}", self.shape(v));
        self.variables[v.0 as usize].shape = shape.to_vec();
    }

    /// What `record` makes of `v`, recorded once for all who ask by the same name, until something is written to `v`.
    pub(crate) fn once(&mut self, name: &'static str, v: Var, record: impl FnOnce(&mut Tape) -> Var) -> Var {
        if let Some(&known) = self.known.get(&(name, v)) {
            return known;
        }
        let made = record(self);
        self.known.insert((name, v), made);
        made
    }

    /// Number of dispatches recorded so far.
    pub fn dispatches(&self) -> usize {
        self.program.len()
    }

    /// A number that no other place on this tape has: two dropouts with one seed must draw different masks.
    pub fn site(&mut self) -> u32 {
        self.sites += 1;
        self.sites
    }

    /// Starts a dispatch of `kernel`'s entry point `entry`.
    #[track_caller]
    pub fn call(&mut self, kernel: &'static Kernel, entry: &str) -> Call<'_> {
        Call { entry: kernel.entry(entry), kernel, tape: self, args: vec![], params: vec![], constants: vec![] }
    }

    /// Whether a gradient with respect to `v` is wanted; if not, its backward work must not be recorded.
    pub fn needs_grad(&self, v: Var) -> bool {
        self.variables[v.0 as usize].grad
    }

    /// Says how the gradient of `out` flows to `inputs`. The closure gets d loss / d out and must call
    /// [`add_grad`](Self::add_grad) for every input that [`needs_grad`](Self::needs_grad).
    pub fn record(&mut self, out: Var, inputs: &[Var], backward: impl FnOnce(&mut Tape, Var) + 'static) {
        if inputs.iter().any(|&v| self.needs_grad(v)) {
            self.variables[out.0 as usize].grad = true;
            self.pullbacks.push((out, Box::new(backward)));
        }
    }

    /// Adds `dv` to the gradient of `v`. The one place where gradients meet.
    #[track_caller]
    pub fn add_grad(&mut self, v: Var, dv: Var) {
        if !self.needs_grad(v) {
            return;
        }
        assert!(self.len(v) == self.len(dv), "gradient of shape {:?} for a value of shape {:?}", self.shape(dv), self.shape(v));
        let sum = match self.grads.get(&v) {
            None => dv,
            Some(&before) => self.add(before, dv),
        };
        self.grads.insert(v, sum);
    }

    /// Appends the backward program of `out` for the cotangent `seed` (d loss / d out).
    #[track_caller]
    pub fn backward(&mut self, out: Var, seed: Var) {
        self.add_grad(out, seed);
        for (v, backward) in std::mem::take(&mut self.pullbacks).into_iter().rev() {
            if let Some(&dv) = self.grads.get(&v) {
                backward(self, dv);
            }
        }
    }

    /// The gradient of `v` after [`backward`](Self::backward), unless `out` does not depend on it.
    pub fn grad(&self, v: Var) -> Option<Var> {
        self.grads.get(&v).copied()
    }
}

/// The value of a field of a `params` block.
#[derive(Debug, Clone, Copy)]
pub enum Param {
    U32(u32),
    F32(f32),
}

impl From<u32> for Param {
    fn from(value: u32) -> Param {
        Param::U32(value)
    }
}

impl From<bool> for Param {
    fn from(value: bool) -> Param {
        Param::U32(value as u32)
    }
}

impl From<usize> for Param {
    #[track_caller]
    fn from(value: usize) -> Param {
        Param::U32(u32::try_from(value).unwrap_or_else(|_| panic!("{value} does not fit the 32 bits of a kernel's parameter")))
    }
}

impl From<f32> for Param {
    fn from(value: f32) -> Param {
        Param::F32(value)
    }
}

/// A dispatch being put together; [`elements`](Self::elements), [`rows`](Self::rows) or [`groups`](Self::groups) records it.
#[must_use = "a call is recorded by `elements`, `rows` or `groups`"]
pub struct Call<'t> {
    tape: &'t mut Tape,
    kernel: &'static Kernel,
    entry: &'static Entry,
    args: Vec<(&'static str, Var)>,
    params: Vec<(&'static str, Param)>,
    constants: Vec<(&'static str, f64)>,
}

impl Call<'_> {
    /// Binds a variable to the binding of that name.
    pub fn bind(mut self, name: &'static str, v: Var) -> Self {
        self.args.push((name, v));
        self
    }

    /// Sets a field of `params`.
    #[track_caller]
    pub fn param(mut self, name: &'static str, value: impl Into<Param>) -> Self {
        self.params.push((name, value.into()));
        self
    }

    /// Sets several fields of `params`: those that the entry points of a file share.
    pub fn params(mut self, params: &[(&'static str, Param)]) -> Self {
        self.params.extend_from_slice(params);
        self
    }

    /// Sets an override constant.
    pub fn constant(mut self, name: &'static str, value: impl Into<f64>) -> Self {
        self.constants.push((name, value.into()));
        self
    }

    /// At least one invocation per element, in workgroups of the override constant `WG`; past 65,535 workgroups the kernel strides.
    #[track_caller]
    pub fn elements(self, count: usize) {
        let workgroup = self.tape.capabilities.workgroup.min(256);
        let groups = count.div_ceil(workgroup as usize).clamp(1, MAX_GROUPS);
        self.constant("WG", workgroup).groups([groups, 1, 1]);
    }

    /// One workgroup per row: the kernel's row is `group.x + group.y * groups.x`, and may lie past the last.
    #[track_caller]
    pub fn rows(self, count: usize) {
        let x = count.clamp(1, MAX_GROUPS);
        self.groups([x, count.div_ceil(x).max(1), 1]);
    }

    /// The given workgroups in x, y and z.
    ///
    /// # Panics
    /// When bindings, parameters or constants are not those of the entry point: a mistake in the op.
    #[track_caller]
    pub fn groups(self, grid: [usize; 3]) {
        let Call { tape, kernel, entry, args, params, constants } = self;
        let place = || format!("shaders/{}.wgsl `{}`", kernel.name, entry.name);
        assert!(grid.iter().all(|&n| (1..=MAX_GROUPS).contains(&n)), "{}: {grid:?} workgroups", place());
        let mut ordered = vec![];
        for binding in entry.bindings.iter().filter(|binding| binding.access != Access::Params) {
            let Some(&(_, v)) = args.iter().find(|arg| arg.0 == binding.name) else {
                panic!("{} binds `{}`, which the call does not give", place(), binding.name)
            };
            let bytes = crate::gpu::padded_bytes(tape.shape(v));
            assert!(bytes >= binding.size as u64, "{}: `{}` is a block of {} bytes, given {bytes}", place(), binding.name, binding.size);
            ordered.push(v);
        }
        for (name, _) in &args {
            assert!(entry.bindings.iter().any(|binding| binding.name == *name), "{} has no binding `{name}`", place());
        }
        for (name, _) in &constants {
            assert!(entry.overrides.iter().any(|have| have == name), "{} has no override constant `{name}`", place());
        }
        for (name, _) in &params {
            assert!(entry.params.iter().any(|field| field.name == *name), "{} has no parameter `{name}`", place());
        }
        let mut bytes = vec![0; entry.params_size as usize];
        for field in &entry.params {
            let value = params.iter().find(|param| param.0 == field.name).map(|param| param.1);
            let word = match (value, field.float) {
                (Some(Param::U32(value)), false) => value.to_le_bytes(),
                (Some(Param::F32(value)), true) => value.to_le_bytes(),
                (Some(_), _) => panic!("{}: parameter `{}` has another type", place(), field.name),
                (None, _) => panic!("{} has a parameter `{}`, which the call does not give", place(), field.name),
            };
            bytes[field.offset as usize..][..4].copy_from_slice(&word);
        }
        let dispatch = Dispatch { kernel, entry, args: ordered, params: bytes, constants, grid: grid.map(|n| n as u32) };
        let written: Vec<Var> = dispatch.uses().filter(|&(_, access)| access == Access::Write).map(|(v, _)| v).collect();
        for (index, v) in written.iter().enumerate() {
            let count = dispatch.args.iter().filter(|arg| *arg == v).count();
            assert!(count == 1 && !written[..index].contains(v), "{}: a written variable is bound twice", place());
        }
        tape.known.retain(|(_, v), _| !written.contains(v));
        tape.program.push(dispatch);
    }
}
