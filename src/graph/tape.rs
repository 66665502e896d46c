//! Records dispatches symbolically, and what their gradients are. Nothing runs until a [`Plan`](crate::device::Plan)
//! gives the recording buffers.

use std::collections::BTreeMap;

use crate::device::{Capabilities, DeviceError, Tensor};
use crate::graph::{Access, Entry, Kernel};

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

#[derive(Clone)]
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
        let accesses = self
            .entry
            .bindings
            .iter()
            .map(|binding| binding.access)
            .filter(|&access| access != Access::Params);
        self.args.iter().copied().zip(accesses)
    }
}

/// What [`Tape::backward`] appends, last recorded first.
enum Pullback {
    /// The gradients of an op's inputs.
    Gradient(Box<dyn FnOnce(&mut Tape)>),
    /// A segment's forward dispatches once more, for the gradients recorded in it.
    Again(Vec<Dispatch>),
}

/// Where a segment that is computed twice starts: see [`Tape::segment`].
#[must_use = "a segment ends with `recompute`"]
pub struct Segment {
    dispatches: usize,
    variables: usize,
    pullbacks: usize,
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
        candidates
            .names
            .iter()
            .position(|name| *name == self.0)
            .unwrap_or(0)
    }
}

/// What the operands of matrix products and attention are rounded to. Sums and results are f32.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    #[default]
    F32,
    /// Half precision: half the bytes, and tensor cores where the adapter has them.
    F16,
}

/// A recording of dispatches with the closures that append their gradients.
pub struct Tape {
    capabilities: Capabilities,
    pub(crate) variables: Vec<Variable>,
    pub(crate) program: Vec<Dispatch>,
    pullbacks: Vec<Pullback>,
    grads: BTreeMap<Var, Var>,
    sites: u32,
    precision: Precision,
    /// What was recorded of a variable to serve more than one op.
    known: BTreeMap<(&'static str, Var), Var>,
    /// Why no adapter runs what was recorded, if so: no plan is made of it.
    pub(crate) refused: Option<DeviceError>,
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
            refused: None,
        }
    }

    pub fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    /// Makes `chooser` decide between forms from here on.
    pub(crate) fn choose_by(&mut self, chooser: std::sync::Arc<dyn Choose>) {
        self.capabilities.chooser = Some(chooser);
    }

    /// Rounds the operands of the matrix products and attention that are recorded from here on, and of their gradients. For passes
    /// without a cache: a cache would be converted as a whole at every token.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    fn add_variable(&mut self, shape: &[usize], home: Home, grad: bool) -> Var {
        self.variables.push(Variable {
            shape: shape.to_vec(),
            home,
            grad,
        });
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
    ///
    /// # Panics
    /// When the tensor is a part of another that does not begin at a multiple of 256 bytes.
    #[track_caller]
    pub fn bind(&mut self, tensor: &Tensor) -> Var {
        assert!(
            tensor.is_aligned(),
            "bind: a part of a tensor, of shape {:?}, that does not begin at 256 bytes",
            tensor.shape()
        );
        let known = self
            .variables
            .iter()
            .position(|v| matches!(&v.home, Home::Tensor(t) if t.same(tensor)));
        match known {
            Some(index) => Var(index as u32),
            None => self.add_variable(tensor.shape(), Home::Tensor(tensor.clone()), false),
        }
    }

    /// Makes `v` a value whose gradient is wanted by all that is recorded from here on.
    pub fn want_grad(&mut self, v: Var) {
        self.variables[v.0 as usize].grad = true;
    }

    /// Persistent numbers whose gradient is wanted.
    #[track_caller]
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
        assert!(
            self.len(v) == shape.iter().product::<usize>(),
            "reshape: {:?} has not as many elements as {shape:?}",
            self.shape(v)
        );
        self.variables[v.0 as usize].shape = shape.to_vec();
    }

    /// All persistent numbers whose gradient is wanted, in the order of their first use.
    pub fn parameters(&self) -> Vec<(Var, Tensor)> {
        let of = |(index, variable): (usize, &Variable)| match &variable.home {
            Home::Tensor(tensor) if variable.grad => Some((Var(index as u32), tensor.clone())),
            _ => None,
        };
        self.variables.iter().enumerate().filter_map(of).collect()
    }

    /// Has the value `v` written into `tensor`: without a copy if it is an intermediate value that no dispatch so far reads.
    #[track_caller]
    pub fn place(&mut self, v: Var, tensor: &Tensor) {
        assert!(
            self.len(v) == tensor.len(),
            "place: {:?} into {:?}",
            self.shape(v),
            tensor.shape()
        );
        assert!(
            tensor.is_aligned(),
            "place: into a part of a tensor that does not begin at 256 bytes"
        );
        let read = self.program.iter().any(|dispatch| {
            dispatch
                .uses()
                .any(|(used, access)| used == v && access != Access::Write)
        });
        let transient = matches!(self.variables[v.0 as usize].home, Home::Transient);
        let v = if transient && !read {
            v
        } else {
            self.scale(v, 1.0)
        };
        self.variables[v.0 as usize].home = Home::Tensor(tensor.clone());
    }

    /// What `record` makes of `v`, recorded once for all who ask by the same name, until something is written to `v`.
    pub(crate) fn once(
        &mut self,
        name: &'static str,
        v: Var,
        record: impl FnOnce(&mut Tape) -> Var,
    ) -> Var {
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
    pub fn call(&mut self, kernel: &'static Kernel, entry: &str) -> DispatchBuilder<'_> {
        DispatchBuilder {
            entry: kernel.entry(entry),
            kernel,
            tape: self,
            args: vec![],
            params: vec![],
            constants: vec![],
        }
    }

    /// Whether a gradient with respect to `v` is wanted; if not, its backward work must not be recorded.
    pub fn needs_grad(&self, v: Var) -> bool {
        self.variables[v.0 as usize].grad
    }

    /// Says how the gradient of `out` flows to `inputs`. The closure gets d loss / d out and must call
    /// [`add_grad`](Self::add_grad) for every input that [`needs_grad`](Self::needs_grad).
    pub fn record(
        &mut self,
        out: Var,
        inputs: &[Var],
        backward: impl FnOnce(&mut Tape, Var) + 'static,
    ) {
        self.record_many([out], inputs, |t, [dout]| {
            if let Some(dout) = dout {
                backward(t, dout);
            }
        });
    }

    /// The same for an op of several outputs: the closure gets their gradients once those of all of them are complete, `None`
    /// for an output that the loss does not depend on. It is not called when none arrives.
    pub fn record_many<const N: usize>(
        &mut self,
        outs: [Var; N],
        inputs: &[Var],
        backward: impl FnOnce(&mut Tape, [Option<Var>; N]) + 'static,
    ) {
        if !inputs.iter().any(|&v| self.needs_grad(v)) {
            return;
        }
        for out in outs {
            self.variables[out.0 as usize].grad = true;
        }
        self.pullbacks.push(Pullback::Gradient(Box::new(move |t| {
            let douts = outs.map(|out| t.grad(out));
            if douts.iter().any(Option::is_some) {
                backward(t, douts);
            }
        })));
    }

    /// Starts a segment whose intermediate values are not kept for the backward pass, but computed again there: activation
    /// checkpointing (Chen et al. 2016). It costs the segment's forward pass again, and the results are the same, bit for bit.
    pub fn segment(&mut self) -> Segment {
        Segment {
            dispatches: self.program.len(),
            variables: self.variables.len(),
            pullbacks: self.pullbacks.len(),
        }
    }

    /// Ends a segment: of all that it computed only `outputs` may be used after it.
    ///
    /// The gradients recorded in the segment read its values. So it is the forward pass that now writes to other variables, which
    /// nothing reads later, and the values proper are written by the same dispatches in [`backward`](Self::backward).
    ///
    /// # Panics
    /// When the segment changes persistent numbers, which it must not do twice.
    #[track_caller]
    pub fn recompute(&mut self, segment: Segment, outputs: &[Var]) {
        if self.pullbacks.len() == segment.pullbacks {
            return;
        }
        let mut again = self.program[segment.dispatches..].to_vec();
        let mut forward = BTreeMap::new();
        for index in segment.variables..self.variables.len() {
            let v = Var(index as u32);
            if matches!(self.variables[index].home, Home::Transient) && !outputs.contains(&v) {
                forward.insert(v, self.like(v));
            }
        }
        for v in self.program[segment.dispatches..]
            .iter_mut()
            .flat_map(|dispatch| &mut dispatch.args)
        {
            *v = forward.get(v).copied().unwrap_or(*v);
        }
        // the outputs are there already: the second pass writes them where nobody reads, and the plan leaves out what is only for them
        for dispatch in &mut again {
            let written: Vec<Var> = dispatch
                .uses()
                .filter(|&(_, access)| access == Access::Write)
                .map(|(v, _)| v)
                .collect();
            for v in written {
                let place = || {
                    format!(
                        "shaders/{}.wgsl `{}`",
                        dispatch.kernel.name, dispatch.entry.name
                    )
                };
                assert!(
                    !matches!(self.variables[v.0 as usize].home, Home::Tensor(_)),
                    "{} changes a tensor and would run twice",
                    place()
                );
                if outputs.contains(&v) {
                    let unread = self.like(v);
                    dispatch
                        .args
                        .iter_mut()
                        .filter(|arg| **arg == v)
                        .for_each(|arg| *arg = unread);
                }
            }
        }
        // what was made here of values from outside is not there any more
        let inside = |v: Var| v.0 as usize >= segment.variables;
        let variables = &self.variables;
        self.known.retain(|&(_, v), &mut made| {
            !inside(made) || inside(v) && matches!(variables[v.0 as usize].home, Home::Transient)
        });
        self.pullbacks.push(Pullback::Again(again));
    }

    /// Adds `dv` to the gradient of `v`. The one place where gradients meet.
    #[track_caller]
    pub fn add_grad(&mut self, v: Var, dv: Var) {
        if !self.needs_grad(v) {
            return;
        }
        assert!(
            self.len(v) == self.len(dv),
            "gradient of shape {:?} for a value of shape {:?}",
            self.shape(dv),
            self.shape(v)
        );
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
        // whatever takes a value was recorded after what made it, so a gradient is complete when its turn comes
        for pullback in std::mem::take(&mut self.pullbacks).into_iter().rev() {
            match pullback {
                Pullback::Gradient(backward) => backward(self),
                Pullback::Again(dispatches) => self.program.extend(dispatches),
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
    /// A number that does not fit, which is an error when the plan is made.
    TooLarge(usize),
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
    fn from(value: usize) -> Param {
        u32::try_from(value).map_or(Param::TooLarge(value), Param::U32)
    }
}

impl From<f32> for Param {
    fn from(value: f32) -> Param {
        Param::F32(value)
    }
}

/// A dispatch being put together; [`elements`](Self::elements), [`rows`](Self::rows) or [`groups`](Self::groups) records it.
#[must_use = "a call is recorded by `elements`, `rows` or `groups`"]
pub struct DispatchBuilder<'t> {
    tape: &'t mut Tape,
    kernel: &'static Kernel,
    entry: &'static Entry,
    args: Vec<(&'static str, Var)>,
    params: Vec<(&'static str, Param)>,
    constants: Vec<(&'static str, f64)>,
}

impl DispatchBuilder<'_> {
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

    /// The given workgroups in x, y and z. More than 65,535 along an axis are an error when the plan is made.
    ///
    /// # Panics
    /// When bindings, parameters or constants are not those of the entry point: a mistake in the op.
    #[track_caller]
    pub fn groups(self, grid: [usize; 3]) {
        let DispatchBuilder {
            tape,
            kernel,
            entry,
            args,
            params,
            constants,
        } = self;
        let place = || format!("shaders/{}.wgsl `{}`", kernel.name, entry.name);
        assert!(!grid.contains(&0), "{}: {grid:?} workgroups", place());
        if grid.iter().any(|&n| n > MAX_GROUPS) {
            // sizes come from data: to be told, not a mistake in the op
            tape.refused
                .get_or_insert_with(|| DeviceError::TooManyGroups {
                    kernel: place(),
                    grid,
                });
        }
        let mut ordered = vec![];
        for binding in entry
            .bindings
            .iter()
            .filter(|binding| binding.access != Access::Params)
        {
            let Some(&(_, v)) = args.iter().find(|arg| arg.0 == binding.name) else {
                panic!(
                    "{} binds `{}`, which the call does not give",
                    place(),
                    binding.name
                )
            };
            let bytes = crate::device::padded_bytes(tape.shape(v));
            assert!(
                bytes >= binding.size as u64,
                "{}: `{}` is a block of {} bytes, given {bytes}",
                place(),
                binding.name,
                binding.size
            );
            ordered.push(v);
        }
        for (name, _) in &args {
            assert!(
                entry.bindings.iter().any(|binding| binding.name == *name),
                "{} has no binding `{name}`",
                place()
            );
        }
        for (name, _) in &constants {
            assert!(
                entry.overrides.iter().any(|have| have == name),
                "{} has no override constant `{name}`",
                place()
            );
        }
        for (name, _) in &params {
            assert!(
                entry.params.iter().any(|field| field.name == *name),
                "{} has no parameter `{name}`",
                place()
            );
        }
        let mut bytes = vec![0; entry.params_size as usize];
        for field in &entry.params {
            let value = params
                .iter()
                .find(|param| param.0 == field.name)
                .map(|param| param.1);
            let word = match (value, field.float) {
                (Some(Param::U32(value)), false) => value.to_le_bytes(),
                (Some(Param::F32(value)), true) => value.to_le_bytes(),
                (Some(Param::TooLarge(number)), _) => {
                    tape.refused
                        .get_or_insert_with(|| DeviceError::TooLargeNumber {
                            kernel: place(),
                            name: field.name.clone(),
                            number,
                        });
                    [0; 4]
                }
                (Some(_), _) => panic!("{}: parameter `{}` has another type", place(), field.name),
                (None, _) => panic!(
                    "{} has a parameter `{}`, which the call does not give",
                    place(),
                    field.name
                ),
            };
            bytes[field.offset as usize..][..4].copy_from_slice(&word);
        }
        let dispatch = Dispatch {
            kernel,
            entry,
            args: ordered,
            params: bytes,
            constants,
            grid: grid.map(|n| n as u32),
        };
        let written: Vec<Var> = dispatch
            .uses()
            .filter(|&(_, access)| access == Access::Write)
            .map(|(v, _)| v)
            .collect();
        for (index, v) in written.iter().enumerate() {
            let count = dispatch.args.iter().filter(|arg| *arg == v).count();
            assert!(
                count == 1 && !written[..index].contains(v),
                "{}: a written variable is bound twice",
                place()
            );
        }
        tape.known.retain(|(_, v), _| !written.contains(v));
        tape.program.push(dispatch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::device::Plan;

    fn run(device: &Device, tape: Tape, x: Var) -> usize {
        let plan = Plan::new(device, tape).unwrap();
        plan.write(x, &[1.0f32, 2.0, 3.0]);
        plan.run().unwrap();
        plan.dispatches()
    }

    #[test]
    fn a_value_is_placed_without_a_copy_unless_something_reads_it() {
        let device = Device::open(None).unwrap();
        let whole = Tensor::new(&device, &[192], &[7.0f32; 192]).unwrap();
        let [first, second, third] = [0, 64, 128].map(|at| whole.part(at, &[3]));
        let mut tape = Tape::new(device.capabilities());
        let x = tape.input(&[3]);
        let y = tape.scale(x, 2.0);
        tape.place(y, &first);
        assert_eq!(run(&device, tape, x), 1);

        let mut tape = Tape::new(device.capabilities());
        let x = tape.input(&[3]);
        let y = tape.scale(x, 3.0);
        let z = tape.scale(y, 2.0);
        // read to make z, so it is copied; and an input is
        tape.place(y, &second);
        tape.place(x, &third);
        tape.hold(z);
        assert_eq!(run(&device, tape, x), 4);

        let values: Vec<f32> = whole.read().unwrap();
        assert_eq!(
            (&values[..3], &values[64..67], &values[128..131]),
            (
                &[2.0, 4.0, 6.0][..],
                &[3.0, 6.0, 9.0][..],
                &[1.0, 2.0, 3.0][..]
            )
        );
        assert_eq!((values[63], values[70], values[191]), (7.0, 7.0, 7.0));
    }

    #[test]
    #[should_panic(
        expected = "scale.wgsl `forward` writes a part of a buffer of which it uses another part"
    )]
    fn two_parts_of_a_buffer_do_not_meet_in_a_dispatch_that_writes() {
        let device = Device::open(None).unwrap();
        let whole = Tensor::zeros(&device, &[128]).unwrap();
        let mut tape = Tape::new(device.capabilities());
        let x = tape.bind(&whole.part(0, &[8]));
        let y = tape.scale(x, 2.0);
        tape.place(y, &whole.part(64, &[8]));
        let _ = Plan::new(&device, tape);
    }

    #[test]
    #[should_panic(expected = "does not begin at 256 bytes")]
    fn a_part_that_no_adapter_could_bind_is_refused() {
        let device = Device::open(None).unwrap();
        let whole = Tensor::zeros(&device, &[128]).unwrap();
        Tape::new(device.capabilities()).bind(&whole.part(8, &[8]));
    }

    const N: usize = 1000;

    /// Twelve blocks `x + gelu(dropout(gelu(x + a)) + b)`: their result and gradients, the memory and dispatches of their plan.
    fn gradients(
        device: &Device,
        nested: bool,
        checkpoint: bool,
    ) -> (Vec<Vec<u32>>, crate::device::Memory, usize) {
        let mut tape = Tape::new(device.capabilities());
        let [x, a, b] = [(); 3].map(|()| tape.variable(&[N]));
        let (seed, cotangent) = (tape.input(&[1]), tape.input(&[N]));
        let block = |t: &mut Tape, x: Var| {
            let whole = checkpoint.then(|| t.segment());
            let inner = (checkpoint && nested).then(|| t.segment());
            let sum = t.add(x, a);
            let active = t.gelu(sum);
            let dropped = t.dropout(active, 0.3, seed);
            inner
                .into_iter()
                .for_each(|segment| t.recompute(segment, &[dropped]));
            let shifted = t.add(dropped, b);
            let active = t.gelu(shifted);
            let out = t.add(x, active);
            whole
                .into_iter()
                .for_each(|segment| t.recompute(segment, &[out]));
            out
        };
        let y = (0..12).fold(x, |x, _| block(&mut tape, x));
        tape.hold(y);
        tape.backward(y, cotangent);
        let grads = [x, a, b].map(|v| tape.grad(v).unwrap());
        grads.iter().for_each(|&grad| tape.hold(grad));
        let plan = Plan::new(device, tape).unwrap();
        let values = |from: f32| {
            (0..N)
                .map(|i| from + (i * 7 % 19) as f32 / 19.0)
                .collect::<Vec<f32>>()
        };
        [x, a, b, cotangent]
            .into_iter()
            .enumerate()
            .for_each(|(index, v)| plan.write(v, &values(index as f32 / 3.0 - 0.5)));
        plan.write(seed, &[5u32]);
        plan.run().unwrap();
        let read = [y]
            .into_iter()
            .chain(grads)
            .map(|v| plan.read(v).unwrap())
            .collect();
        (read, plan.memory(), plan.dispatches())
    }

    #[test]
    fn values_computed_again_give_the_same_gradients_in_less_memory() {
        let device = Device::open(None).unwrap();
        let (kept, most, dispatches) = gradients(&device, false, false);
        assert!(
            kept.iter()
                .flatten()
                .all(|&bits| f32::from_bits(bits).is_finite())
        );
        for nested in [false, true] {
            let (again, less, more) = gradients(&device, nested, true);
            assert_eq!(kept, again, "nested: {nested}");
            assert!(less.shared < most.shared * 3 / 4, "{less:?} and {most:?}");
            assert!(
                more > dispatches && more < 2 * dispatches,
                "{more} and {dispatches}"
            );
        }
    }

    #[test]
    fn without_gradients_nothing_is_computed_again() {
        let mut tape = Tape::new(Device::open(None).unwrap().capabilities());
        let x = tape.input(&[8]);
        let segment = tape.segment();
        let y = tape.gelu(x);
        let z = tape.gelu(y);
        let variables = tape.variables.len();
        tape.recompute(segment, &[z]);
        assert!(tape.pullbacks.is_empty() && tape.variables.len() == variables);
    }

    #[test]
    fn more_workgroups_than_any_adapter_has_are_an_error_that_names_the_kernel() {
        let device = Device::open(None).unwrap();
        static SCALE: Kernel = crate::kernel!("scale");
        let mut tape = Tape::new(device.capabilities());
        let (x, y) = (tape.input(&[4]), tape.output(&[4]));
        tape.call(&SCALE, "forward")
            .bind("x", x)
            .bind("y", y)
            .param("n", 4u32)
            .param("factor", 2.0f32)
            .constant("WG", 64u32)
            .groups([70_000, 1, 1]);
        tape.hold(y);
        let Err(error) = Plan::new(&device, tape) else {
            panic!("70,000 workgroups were planned")
        };
        let text = error.to_string();
        assert!(
            text.contains("shaders/scale.wgsl `forward`")
                && text.contains("70000")
                && text.contains("--batch-size"),
            "{text}"
        );
    }

    #[test]
    #[should_panic(expected = "would run twice")]
    fn a_segment_that_changes_a_tensor_is_refused() {
        let device = Device::open(None).unwrap();
        let state = Tensor::zeros(&device, &[8]).unwrap();
        let mut tape = Tape::new(device.capabilities());
        let (x, first, state) = (tape.variable(&[8]), tape.input(&[1]), tape.bind(&state));
        let segment = tape.segment();
        let y = tape.gelu(x);
        tape.accumulate(state, y, first);
        tape.recompute(segment, &[y]);
    }
}
