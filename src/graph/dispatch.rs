//! One dispatch of a kernel, and how it is put together.

use super::program::padded_bytes;
use super::{Access, Entry, Kernel, RecordError, Tape, Var};

/// Largest number of workgroups along one axis of a dispatch, on every device.
pub const MAX_GROUPS: usize = 65_535;

/// A recorded dispatch of a kernel.
#[derive(Clone)]
pub struct Dispatch {
    /// WGSL file.
    pub kernel: &'static Kernel,
    /// Entry point within the file.
    pub entry: &'static Entry,
    /// Values bound, one for each binding of the entry point but `params`, in binding order. None
    /// is a view.
    pub args: Vec<Var>,
    /// Shape under which each value is bound.
    pub shapes: Vec<Vec<usize>>,
    /// Bytes of the `params` block.
    pub params: Vec<u8>,
    /// Override constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Workgroups in x, y and z.
    pub grid: [u32; 3],
}

impl Dispatch {
    /// Returns the values bound and how each is used.
    pub fn uses(&self) -> impl Iterator<Item = (Var, Access)> {
        let accesses = self
            .entry
            .bindings
            .iter()
            .map(|binding| binding.access)
            .filter(|&access| access != Access::Params);
        self.args.iter().copied().zip(accesses)
    }

    /// Returns the values that it writes.
    pub fn written(&self) -> impl Iterator<Item = Var> {
        self.uses()
            .filter(|&(_, access)| access == Access::Write)
            .map(|(v, _)| v)
    }

    /// Returns file and entry point, for messages.
    pub fn place(&self) -> String {
        place(self.kernel, self.entry)
    }
}

pub(super) fn place(kernel: &Kernel, entry: &Entry) -> String {
    format!("shaders/{}.wgsl `{}`", kernel.name, entry.name)
}

/// Value of a field of a `params` block.
#[derive(Debug, Clone, Copy)]
pub enum Param {
    /// For a field of type `u32`.
    U32(u32),
    /// For a field of type `f32`.
    F32(f32),
    /// A number that does not fit into 32 bits: an error when the tape becomes a program.
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

/// A dispatch being put together: recorded by [`elements`](Self::elements), [`rows`](Self::rows) or
/// [`groups`](Self::groups).
#[must_use = "a dispatch is recorded by `elements`, `rows` or `groups`"]
pub struct DispatchBuilder<'t> {
    tape: &'t mut Tape,
    kernel: &'static Kernel,
    entry: &'static Entry,
    args: Vec<(&'static str, Var)>,
    params: Vec<(&'static str, Param)>,
    constants: Vec<(&'static str, f64)>,
}

impl<'t> DispatchBuilder<'t> {
    #[track_caller]
    pub(super) fn new(tape: &'t mut Tape, kernel: &'static Kernel, entry: &str) -> Self {
        DispatchBuilder {
            entry: kernel.entry(entry),
            kernel,
            tape,
            args: vec![],
            params: vec![],
            constants: vec![],
        }
    }

    /// Returns whether the entry point has a binding of that name.
    pub fn has_binding(&self, name: &str) -> bool {
        let mut bindings = self.entry.bindings.iter();
        bindings.any(|binding| binding.name == name)
    }

    /// Binds a value to the binding of that name.
    pub fn bind(mut self, name: &'static str, v: Var) -> Self {
        self.args.push((name, v));
        self
    }

    /// Sets a field of `params`.
    pub fn param(mut self, name: &'static str, value: impl Into<Param>) -> Self {
        self.params.push((name, value.into()));
        self
    }

    /// Sets several fields of `params`, such as those shared by the entry points of a file.
    pub fn params(mut self, params: &[(&'static str, Param)]) -> Self {
        self.params.extend_from_slice(params);
        self
    }

    /// Sets an override constant.
    pub fn constant(mut self, name: &'static str, value: impl Into<f64>) -> Self {
        self.constants.push((name, value.into()));
        self
    }

    /// Records at least one invocation for each of `count` elements, in workgroups of the override
    /// constant `WG`. Beyond 65,535 workgroups the kernel must stride.
    #[track_caller]
    pub fn elements(self, count: usize) {
        let workgroup = self.tape.capabilities.workgroup.min(256);
        let groups = count.div_ceil(workgroup as usize).clamp(1, MAX_GROUPS);
        self.constant("WG", workgroup).groups([groups, 1, 1]);
    }

    /// Records one workgroup for each of `count` rows. A workgroup's row is `group.x + group.y *
    /// groups.x`, and may lie past the last.
    #[track_caller]
    pub fn rows(self, count: usize) {
        let x = count.clamp(1, MAX_GROUPS);
        self.groups([x, count.div_ceil(x).max(1), 1]);
    }

    /// Records the given workgroups in x, y and z. More than 65,535 along an axis are an error when
    /// the tape becomes a program.
    ///
    /// # Panics
    /// If bindings, parameters or constants are not those of the entry point: a mistake in the op.
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
        let place = || place(kernel, entry);
        assert!(!grid.contains(&0), "{}: {grid:?} workgroups", place());
        if grid.iter().any(|&n| n > MAX_GROUPS) {
            // sizes come from data: an error for the user, not a mistake in the op
            tape.error
                .get_or_insert_with(|| RecordError::TooManyGroups {
                    kernel: place(),
                    grid,
                });
        }
        let (mut ordered, mut shapes) = (vec![], vec![]);
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
            let bytes = padded_bytes(tape.shape(v));
            assert!(
                bytes >= binding.size as u64,
                "{}: `{}` is a block of {} bytes, given {bytes}",
                place(),
                binding.name,
                binding.size
            );
            ordered.push(tape.root(v));
            shapes.push(tape.shape(v).to_vec());
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
                    tape.error
                        .get_or_insert_with(|| RecordError::TooLargeNumber {
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
            shapes,
            params: bytes,
            constants,
            grid: grid.map(|n| n as u32),
        };
        let written: Vec<Var> = dispatch.written().collect();
        for (index, v) in written.iter().enumerate() {
            let count = dispatch.args.iter().filter(|arg| *arg == v).count();
            assert!(
                count == 1 && !written[..index].contains(v),
                "{}: a written value is bound twice",
                place()
            );
        }
        let stale: Vec<(&'static str, Var)> = tape
            .derived
            .keys()
            .filter(|(_, v)| written.contains(&tape.root(*v)))
            .copied()
            .collect();
        stale.iter().for_each(|key| {
            tape.derived.remove(key);
        });
        tape.dispatches.push(dispatch);
    }
}
