//! Rust bodies of kernels: what a CPU runs in place of the WGSL.
//!
//! A body takes its bindings, parameters and constants by the names of the WGSL, through
//! [`NativeCall`], which looks them up in naga's reflection of the file. A body that names a
//! binding wrongly, writes to one that the WGSL only reads, or leaves one out, panics the first
//! time it runs: the two bodies of a kernel cannot drift apart unnoticed.

use std::cell::Cell;
use std::marker::PhantomData;

use super::{Access, Entry, Kernel};

/// Rust body of an entry point. It must fully overwrite its outputs, as the WGSL does, and its
/// results must not depend on the number of [`Workers`].
pub type Native = fn(&NativeCall);

/// Threads that share the tasks of a body.
pub trait Workers: Sync {
    /// Calls `task` once with each number below `tasks`, on several threads in any order, and
    /// returns when all calls have returned.
    ///
    /// # Panics
    /// If a task panics.
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// Memory bound to an argument of a [`NativeCall`].
#[derive(Debug, Clone, Copy)]
pub struct NativeArg<'a> {
    start: *mut u32,
    elements: usize,
    memory: PhantomData<&'a mut [u32]>,
}

impl NativeArg<'_> {
    /// Returns an argument of `elements` 4-byte elements that begin at `start`.
    ///
    /// # Safety
    /// For as long as the argument lives, the memory must be valid for reads and writes and be used
    /// through arguments of one call alone, and the memory of an argument that the entry point
    /// writes must overlap that of no other argument.
    #[allow(unsafe_code)]
    pub unsafe fn new(start: *mut u32, elements: usize) -> Self {
        NativeArg {
            start,
            elements,
            memory: PhantomData,
        }
    }
}

/// An element of an argument: `f32`, `u32` or `i32`.
pub trait Element: bytemuck::Pod + Send + Sync {}

impl Element for f32 {}
impl Element for u32 {}
impl Element for i32 {}

/// One call of a Rust body: its arguments by name, and the threads to run on.
pub struct NativeCall<'a> {
    kernel: &'static Kernel,
    entry: &'static Entry,
    args: &'a [NativeArg<'a>],
    shapes: &'a [Vec<usize>],
    params: &'a [u8],
    constants: &'a [(&'static str, f64)],
    /// Threads to run on.
    pub workers: &'a dyn Workers,
    /// Bindings handed out so far, a bit each by position.
    taken: Cell<u64>,
}

impl<'a> NativeCall<'a> {
    /// Returns a call of `entry` with its arguments in binding order, `params` left out, and their
    /// shapes.
    pub fn new(
        dispatch: &'a super::Dispatch,
        args: &'a [NativeArg<'a>],
        workers: &'a dyn Workers,
    ) -> NativeCall<'a> {
        NativeCall {
            kernel: dispatch.kernel,
            entry: dispatch.entry,
            args,
            shapes: &dispatch.shapes,
            params: &dispatch.params,
            constants: &dispatch.constants,
            workers,
            taken: Cell::new(0),
        }
    }

    /// Runs a body.
    ///
    /// # Panics
    /// If the body does not use all bindings of the WGSL, or uses one as the WGSL does not.
    pub fn run(&self, body: Native) {
        body(self);
        for (at, binding) in self.bindings() {
            assert!(
                self.taken.get() & 1 << at != 0,
                "{}: the Rust body does not use binding `{}`",
                self.place(),
                binding.name
            );
        }
    }

    fn place(&self) -> String {
        super::dispatch::place(self.kernel, self.entry)
    }

    /// Bindings but `params`, by their position among the arguments.
    fn bindings(&self) -> impl Iterator<Item = (usize, &'static super::Binding)> {
        let bindings = self.entry.bindings.iter();
        bindings
            .filter(|binding| binding.access != Access::Params)
            .enumerate()
    }

    /// Returns whether the entry point has a binding of that name.
    pub fn has_binding(&self, name: &str) -> bool {
        self.bindings().any(|(_, binding)| binding.name == name)
    }

    #[track_caller]
    fn take(&self, name: &str, write: bool) -> usize {
        let Some((at, binding)) = self.bindings().find(|(_, binding)| binding.name == name) else {
            panic!("{} has no binding `{name}`", self.place())
        };
        assert!(
            (binding.access == Access::Write) == write,
            "{}: binding `{name}` is {:?}",
            self.place(),
            binding.access
        );
        assert!(
            !write || self.taken.get() & 1 << at == 0,
            "{}: binding `{name}` is taken twice",
            self.place()
        );
        self.taken.set(self.taken.get() | 1 << at);
        at
    }

    /// Returns the elements of an argument that the entry point only reads.
    ///
    /// # Panics
    /// If the WGSL has no such binding, or writes it.
    #[track_caller]
    #[allow(unsafe_code)]
    pub fn read<T: Element>(&self, name: &str) -> &'a [T] {
        let arg = self.args[self.take(name, false)];
        // SAFETY: `NativeArg::new` promises valid memory that no written argument overlaps, and
        // every bit pattern is an Element, which has the size and alignment of u32
        unsafe { std::slice::from_raw_parts(arg.start.cast(), arg.elements) }
    }

    /// Returns the elements of an argument that the entry point writes.
    ///
    /// # Panics
    /// If the WGSL has no such binding or only reads it, or the body takes it twice.
    #[track_caller]
    #[allow(unsafe_code)]
    pub fn write<T: Element>(&self, name: &str) -> &'a mut [T] {
        let arg = self.args[self.take(name, true)];
        // SAFETY: as in `read`; `take` hands it out once, so the slice is the only one
        unsafe { std::slice::from_raw_parts_mut(arg.start.cast(), arg.elements) }
    }

    /// Returns the shape under which an argument is bound.
    ///
    /// # Panics
    /// If the WGSL has no such binding.
    #[track_caller]
    pub fn shape(&self, name: &str) -> &'a [usize] {
        let found = self.bindings().find(|(_, binding)| binding.name == name);
        match found {
            Some((at, _)) => &self.shapes[at],
            None => panic!("{} has no binding `{name}`", self.place()),
        }
    }

    /// Returns whether an argument holds f32: not integers, nor halves packed into them.
    ///
    /// # Panics
    /// If the WGSL has no such binding.
    #[track_caller]
    pub fn holds_floats(&self, name: &str) -> bool {
        let found = self.bindings().find(|(_, binding)| binding.name == name);
        match found {
            Some((_, binding)) => binding.float == 4,
            None => panic!("{} has no binding `{name}`", self.place()),
        }
    }

    #[track_caller]
    fn param(&self, name: &str, float: bool) -> [u8; 4] {
        let field = self.entry.params.iter().find(|field| field.name == name);
        match field {
            Some(field) if field.float == float => {
                let at = field.offset as usize;
                std::array::from_fn(|byte| self.params[at + byte])
            }
            Some(_) => panic!("{}: parameter `{name}` has another type", self.place()),
            None => panic!("{} has no parameter `{name}`", self.place()),
        }
    }

    /// Returns an integer field of `params`.
    ///
    /// # Panics
    /// If the WGSL has no such field.
    #[track_caller]
    pub fn size(&self, name: &str) -> usize {
        u32::from_le_bytes(self.param(name, false)) as usize
    }

    /// Returns an `f32` field of `params`.
    ///
    /// # Panics
    /// If the WGSL has no such field.
    #[track_caller]
    pub fn float(&self, name: &str) -> f32 {
        f32::from_le_bytes(self.param(name, true))
    }

    /// Returns an override constant that the dispatch sets.
    ///
    /// # Panics
    /// If the dispatch does not set it.
    #[track_caller]
    pub fn constant(&self, name: &str) -> f64 {
        match self.constants.iter().find(|(have, _)| *have == name) {
            Some((_, value)) => *value,
            None => panic!("{}: constant `{name}` is not set", self.place()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Tape, Var};
    use super::*;
    use crate::graph::Capabilities;

    struct Alone;

    impl Workers for Alone {
        fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
            (0..tasks).for_each(task);
        }
    }

    static KERNEL: Kernel = Kernel::new(
        "sample",
        "struct Params { n: u32, by: f32 }
        @group(0) @binding(0) var<uniform> params: Params;
        @group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        override WG: u32 = 64;
        @compute @workgroup_size(WG) fn forward() { y[0] = x[0] * params.by + f32(params.n); }",
    );

    #[allow(unsafe_code)]
    fn run(body: Native) -> Vec<f32> {
        let mut tape = Tape::new(Capabilities::MINIMAL);
        let [x, y]: [Var; 2] = [tape.input(&[3]), tape.input(&[3])];
        tape.call(&KERNEL, "forward")
            .bind("x", x)
            .bind("y", y)
            .param("n", 3usize)
            .param("by", 2.0)
            .constant("WG", 32u32)
            .rows(1);
        let program = crate::graph::Program::new(tape).unwrap();
        let mut memory = [[1.0f32, 2.0, 3.0], [0.0; 3]];
        let args = memory
            .each_mut()
            // SAFETY: two arrays, used by this call alone
            .map(|array| unsafe { NativeArg::new(array.as_mut_ptr().cast(), 3) });
        NativeCall::new(&program.dispatches[0], &args, &Alone).run(body);
        memory[1].to_vec()
    }

    #[test]
    fn a_body_gets_what_the_dispatch_binds() {
        let y = run(|call| {
            let (x, y) = (call.read::<f32>("x"), call.write::<f32>("y"));
            assert_eq!((call.size("n"), call.constant("WG")), (3, 32.0));
            assert_eq!(call.shape("x"), [3]);
            for (y, x) in y.iter_mut().zip(x) {
                *y = x * call.float("by");
            }
        });
        assert_eq!(y, [2.0, 4.0, 6.0]);
    }

    #[test]
    #[should_panic(expected = "the Rust body does not use binding `x`")]
    fn a_body_that_leaves_a_binding_out_is_caught() {
        run(|call| call.write::<f32>("y").fill(0.0));
    }

    #[test]
    #[should_panic(expected = "binding `x` is Read")]
    fn a_body_that_writes_what_the_wgsl_reads_is_caught() {
        run(|call| call.write::<f32>("x").fill(0.0));
    }

    #[test]
    #[should_panic(expected = "has no binding `z`")]
    fn a_body_that_names_an_unknown_binding_is_caught() {
        run(|call| call.write::<f32>("z").fill(0.0));
    }

    #[test]
    #[should_panic(expected = "binding `y` is taken twice")]
    fn a_body_cannot_take_an_output_twice() {
        run(|call| {
            call.write::<f32>("y").fill(0.0);
            call.write::<f32>("y").fill(0.0);
        });
    }
}
