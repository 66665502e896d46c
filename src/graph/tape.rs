//! The tape: values, and the dispatches that compute them, recorded in order.

use std::collections::BTreeMap;

use super::dispatch::Dispatch;
use super::gradient::Pullback;
use super::{
    Access, Capabilities, Choose, DispatchBuilder, Kernel, Precision, RecordError, TensorRef,
};

/// A value of a recorded program: an array of 4-byte elements with a shape. Only meaningful on its
/// tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Var(pub(crate) u32);

/// Where the elements of a value live.
#[derive(Debug, Clone)]
pub(crate) enum Home {
    /// In memory shared with values that live at other times.
    Transient,
    /// In memory of its own, which the host may write and read.
    Held,
    /// In memory of its own, with these bytes in it from the start.
    Constant(Vec<u8>),
    /// In a tensor that outlives the program.
    Tensor(TensorRef),
    /// In the memory of another value, which is not a view itself.
    View(Var),
}

#[derive(Debug)]
pub(crate) struct Variable {
    pub shape: Vec<usize>,
    pub home: Home,
    /// Whether a gradient is wanted for it.
    pub grad: bool,
}

/// A recording of dispatches, with the closures that append their gradients.
///
/// Recording is append-only: a recorded value never changes its shape, and [`view`](Self::view)
/// returns a new value. Nothing runs until a [`Program`](super::Program) made of the tape is
/// prepared on a device.
pub struct Tape {
    pub(super) capabilities: Capabilities,
    pub(super) chooser: Option<std::sync::Arc<dyn Choose>>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) dispatches: Vec<Dispatch>,
    pub(super) pullbacks: Vec<Pullback>,
    pub(super) grads: BTreeMap<Var, Var>,
    sites: u32,
    precision: Precision,
    rounds_operands: bool,
    /// Values derived from another one under a name, recorded once to serve several ops.
    pub(super) derived: BTreeMap<(&'static str, Var), Var>,
    views: BTreeMap<(Var, Vec<usize>), Var>,
    pub(super) error: Option<RecordError>,
}

impl Tape {
    /// Returns an empty tape for devices of the given capabilities.
    pub fn new(capabilities: Capabilities) -> Tape {
        Tape {
            capabilities,
            chooser: None,
            variables: vec![],
            dispatches: vec![],
            pullbacks: vec![],
            grads: BTreeMap::new(),
            sites: 0,
            precision: Precision::F32,
            rounds_operands: false,
            derived: BTreeMap::new(),
            views: BTreeMap::new(),
            error: None,
        }
    }

    /// Returns the capabilities that this tape records for.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Lets `chooser` decide between kernel variants from here on.
    pub fn choose_by(&mut self, chooser: std::sync::Arc<dyn Choose>) {
        self.chooser = Some(chooser);
    }

    /// Returns what decides between kernel variants; without it a fixed rule does.
    pub fn chooser(&self) -> Option<std::sync::Arc<dyn Choose>> {
        self.chooser.clone()
    }

    /// Rounds the operands of the matrix products and attention recorded from here on, and of their
    /// gradients.
    ///
    /// Meant for passes without a key/value cache: a cache would be converted as a whole for every
    /// token.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// Returns the precision that operands are rounded to.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Allows products with packed weights, and attention that [says
    /// so](crate::ops::Attention::rounded), that are recorded from here on to round their operands to
    /// bf16, on processors that multiply bf16 faster than f32.
    ///
    /// Rounding changes an operand by at most 1/512 of itself; sums stay f32.
    pub fn round_operands(&mut self, allowed: bool) {
        self.rounds_operands = allowed;
    }

    /// Returns whether operands may be rounded to bf16.
    pub fn rounds_operands(&self) -> bool {
        self.rounds_operands
    }

    fn add_variable(&mut self, shape: &[usize], home: Home, grad: bool) -> Var {
        self.variables.push(Variable {
            shape: shape.to_vec(),
            home,
            grad,
        });
        Var(self.variables.len() as u32 - 1)
    }

    pub(crate) fn variable_of(&self, v: Var) -> &Variable {
        &self.variables[v.0 as usize]
    }

    /// Returns the value whose memory `v` is a view of, or `v` itself.
    pub(crate) fn root(&self, v: Var) -> Var {
        match self.variable_of(v).home {
            Home::View(of) => of,
            _ => v,
        }
    }

    /// Records a value that the host writes before a run. No gradient flows to it.
    pub fn input(&mut self, shape: &[usize]) -> Var {
        self.add_variable(shape, Home::Held, false)
    }

    /// Records an input whose gradient is wanted.
    pub fn variable(&mut self, shape: &[usize]) -> Var {
        self.add_variable(shape, Home::Held, true)
    }

    /// Records a one-dimensional value with fixed elements of 4 bytes, which the program carries.
    ///
    /// # Panics
    /// If the elements do not have 4 bytes.
    #[track_caller]
    pub fn constant<T: bytemuck::Pod>(&mut self, data: &[T]) -> Var {
        assert!(
            size_of::<T>() == 4,
            "constant: elements of {} bytes",
            size_of::<T>()
        );
        let bytes = bytemuck::cast_slice(data).to_vec();
        self.add_variable(&[data.len()], Home::Constant(bytes), false)
    }

    /// Binds a tensor that outlives the program, without a gradient: caches, optimizer state,
    /// frozen parameters.
    ///
    /// A tensor that is bound already gives the same value, or a view of it if the shape differs.
    /// The tensor must exist when the program is prepared.
    ///
    /// # Panics
    /// If the tensor is a part of an array that does not start at a multiple of 256 bytes.
    #[track_caller]
    pub fn bind(&mut self, tensor: impl Into<TensorRef>) -> Var {
        let tensor = tensor.into();
        assert!(
            tensor.is_aligned(),
            "bind: a part of a tensor, of shape {:?}, that does not start at a multiple of 256 bytes",
            tensor.shape
        );
        let same = |other: &TensorRef| {
            other.id == tensor.id && other.offset == tensor.offset && other.len() == tensor.len()
        };
        let known = self
            .variables
            .iter()
            .position(|v| matches!(&v.home, Home::Tensor(other) if same(other)));
        match known {
            Some(index) => self.view(Var(index as u32), &tensor.shape),
            None => {
                let shape = tensor.shape.clone();
                self.add_variable(&shape, Home::Tensor(tensor), false)
            }
        }
    }

    /// Binds a tensor whose gradient is wanted.
    ///
    /// # Panics
    /// If a part of the tensor, or a whole that it is a part of, is already a parameter: the
    /// gradient of one would lack that of the other. Slice the whole instead.
    #[track_caller]
    pub fn parameter(&mut self, tensor: impl Into<TensorRef>) -> Var {
        let tensor = tensor.into();
        let range = |t: &TensorRef| (t.offset, t.len());
        let clash = self
            .variables
            .iter()
            .find_map(|variable| match &variable.home {
                Home::Tensor(other) if variable.grad && other.overlaps(&tensor) => {
                    (range(other) != range(&tensor)).then_some(&other.shape)
                }
                _ => None,
            });
        assert!(
            clash.is_none(),
            "parameter: {:?} shares elements with the parameter {:?}, and their gradients would not meet",
            tensor.shape,
            clash.unwrap_or(&vec![])
        );
        let v = self.bind(tensor);
        let root = self.root(v);
        self.variables[root.0 as usize].grad = true;
        self.variables[v.0 as usize].grad = true;
        v
    }

    /// Wants the gradient of `v` in everything recorded from here on.
    pub fn want_grad(&mut self, v: Var) {
        self.variables[v.0 as usize].grad = true;
    }

    /// Records a new intermediate value. The next dispatch that binds it must write all of it.
    pub fn output(&mut self, shape: &[usize]) -> Var {
        self.add_variable(shape, Home::Transient, false)
    }

    /// Records a new intermediate value with the shape of `v`.
    pub fn like(&mut self, v: Var) -> Var {
        let shape = self.shape(v).to_vec();
        self.output(&shape)
    }

    /// Returns the elements of `v` under another shape, without work on the device. Gradients flow
    /// through.
    ///
    /// # Panics
    /// If the shape has another number of elements.
    #[track_caller]
    pub fn view(&mut self, v: Var, shape: &[usize]) -> Var {
        assert!(
            self.len(v) == shape.iter().product::<usize>(),
            "view: {:?} has a different number of elements than {shape:?}",
            self.shape(v)
        );
        let root = self.root(v);
        if self.shape(v) == shape {
            return v;
        }
        if self.shape(root) == shape {
            return root;
        }
        if let Some(&known) = self.views.get(&(root, shape.to_vec())) {
            // bound before its gradient was wanted
            if self.needs_grad(root) && !self.needs_grad(known) {
                self.record_view(known, root);
            }
            return known;
        }
        let view = self.add_variable(shape, Home::View(root), false);
        self.views.insert((root, shape.to_vec()), view);
        self.record_view(view, root);
        view
    }

    fn record_view(&mut self, view: Var, of: Var) {
        self.record(view, &[of], move |t, dview| {
            let shape = t.shape(of).to_vec();
            let dof = t.view(dview, &shape);
            t.add_grad(of, dof);
        });
    }

    /// Keeps `v` in memory of its own, so that it can be read after a run.
    pub fn hold(&mut self, v: Var) {
        let root = self.root(v);
        let home = &mut self.variables[root.0 as usize].home;
        if matches!(home, Home::Transient) {
            *home = Home::Held;
        }
    }

    /// Returns the shape of `v`.
    pub fn shape(&self, v: Var) -> &[usize] {
        &self.variable_of(v).shape
    }

    /// Returns the number of elements of `v`.
    pub fn len(&self, v: Var) -> usize {
        self.shape(v).iter().product()
    }

    /// Returns the size of `v` as a matrix: the product of all axes but the last, and the last.
    pub fn rows_cols(&self, v: Var) -> (usize, usize) {
        let cols = *self.shape(v).last().unwrap_or(&1);
        (self.len(v) / cols.max(1), cols)
    }

    /// Returns the bound tensors whose gradient is wanted, in order of first use.
    pub fn parameters(&self) -> Vec<(Var, TensorRef)> {
        let of = |(index, variable): (usize, &Variable)| match &variable.home {
            Home::Tensor(tensor) if variable.grad => Some((Var(index as u32), tensor.clone())),
            _ => None,
        };
        self.variables.iter().enumerate().filter_map(of).collect()
    }

    /// Writes `v` into `tensor`, without a copy if `v` is an intermediate value that no dispatch
    /// has read so far.
    ///
    /// # Panics
    /// If the number of elements differs, or the tensor does not start at a multiple of 256 bytes.
    #[track_caller]
    pub fn place(&mut self, v: Var, tensor: impl Into<TensorRef>) {
        let tensor = tensor.into();
        assert!(
            self.len(v) == tensor.len(),
            "place: {:?} into {:?}",
            self.shape(v),
            tensor.shape
        );
        assert!(
            tensor.is_aligned(),
            "place: into a part of a tensor that does not start at a multiple of 256 bytes"
        );
        let root = self.root(v);
        let read = self.dispatches.iter().any(|dispatch| {
            dispatch
                .uses()
                .any(|(used, access)| used == root && access != Access::Write)
        });
        let transient = matches!(self.variable_of(root).home, Home::Transient);
        let placed = if transient && !read {
            root
        } else {
            self.scale(v, 1.0)
        };
        self.variables[placed.0 as usize].home = Home::Tensor(tensor);
    }

    /// Returns the value that `record` derives from `v`, recorded once per name until something is
    /// written to `v`.
    pub(crate) fn once(
        &mut self,
        name: &'static str,
        v: Var,
        record: impl FnOnce(&mut Tape) -> Var,
    ) -> Var {
        if let Some(&known) = self.derived.get(&(name, v)) {
            return known;
        }
        let made = record(self);
        self.derived.insert((name, v), made);
        made
    }

    /// Returns the number of dispatches recorded so far.
    pub fn dispatches(&self) -> usize {
        self.dispatches.len()
    }

    /// Returns a number that is unique on this tape: two dropouts with one seed must draw different
    /// masks.
    pub fn site(&mut self) -> u32 {
        self.sites += 1;
        self.sites
    }

    /// Starts a dispatch of entry point `entry` of `kernel`.
    ///
    /// # Panics
    /// If the kernel has no such entry point: a mistake in the op.
    #[track_caller]
    pub fn call(&mut self, kernel: &'static Kernel, entry: &str) -> DispatchBuilder<'_> {
        DispatchBuilder::new(self, kernel, entry)
    }
}
