//! Kernels: WGSL files, and what naga reads from them.
//!
//! Bindings, access modes, parameters and override constants come from the source and are never
//! repeated in Rust.

#[cfg(test)]
pub(crate) mod uniformity;

use std::sync::OnceLock;

use naga::{AddressSpace, Module, ScalarKind, StorageAccess, TypeInner};

use super::Native;

/// A WGSL file with its entry points. Declare one as a `static` with [`kernel!`](crate::kernel!).
pub struct Kernel {
    /// Stem of the file in `shaders/`.
    pub name: &'static str,
    /// Text of the file, followed by the shared files it uses. WGSL does not depend on order, so
    /// line numbers hold.
    pub source: &'static str,
    /// Whether it runs without bounds checks: see `unchecked`.
    pub(crate) unchecked: bool,
    /// Rust bodies by entry point.
    bodies: &'static [(&'static str, Native)],
    reflection: OnceLock<Vec<Entry>>,
}

/// Declares a [`Kernel`] from `shaders/NAME.wgsl` of the calling crate, with shared sources
/// appended.
///
/// A shared source is any `&'static str` constant: one of [`ops::shared`](crate::ops::shared), or
/// the crate's own.
///
/// ```text
/// static SOFTMAX: Kernel = kernel!("softmax", shared::REDUCE, shared::WIDE)
///     .native(&[("forward", forward), ("backward", backward)]);
/// ```
#[macro_export]
macro_rules! kernel {
    ($name:literal $(, $shared:expr)* $(,)?) => {{
        const PARTS: &[&str] = &[
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")),
            $($shared,)*
        ];
        const JOINED: [u8; $crate::graph::kernel::joined_len(PARTS)] =
            $crate::graph::kernel::join(PARTS);
        const SOURCE: &str = match ::core::str::from_utf8(&JOINED) {
            Ok(source) => source,
            Err(_) => panic!("joined strings are UTF-8"),
        };
        $crate::graph::Kernel::new($name, SOURCE)
    }};
}

/// Bytes of the parts with a line break after each.
#[doc(hidden)]
pub const fn joined_len(parts: &[&str]) -> usize {
    let (mut len, mut part) = (0, 0);
    while part < parts.len() {
        len += parts[part].len() + 1;
        part += 1;
    }
    len
}

/// The parts with a line break after each, as UTF-8.
#[doc(hidden)]
pub const fn join<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut joined = [b'\n'; N];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let bytes = parts[part].as_bytes();
        let (_, rest) = joined.split_at_mut(at);
        let (target, _) = rest.split_at_mut(bytes.len());
        target.copy_from_slice(bytes);
        at += bytes.len() + 1;
        part += 1;
    }
    joined
}

/// Use of a binding by an entry point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The uniform block named `params`: sizes and constants, fixed while recording.
    Params,
    /// Any other uniform block: a value that the host writes before a run.
    Uniform,
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`: an output, or a tensor changed in place.
    Write,
}

/// A `@binding` that an entry point uses.
#[derive(Debug, Clone)]
pub struct Binding {
    /// Name of the variable.
    pub name: String,
    /// Number of the binding.
    pub index: u32,
    /// How it is used.
    pub access: Access,
    /// Bytes of a uniform block; 0 for storage arrays.
    pub size: u32,
    /// Bytes of each float of a storage array of floats; 0 for anything else.
    pub float: u32,
}

/// A field of the `params` block, of 4 bytes.
#[derive(Debug, Clone)]
pub struct Field {
    /// Name of the field.
    pub name: String,
    /// Offset in bytes.
    pub offset: u32,
    /// Whether it is an `f32`; otherwise it is a `u32` or `i32`.
    pub float: bool,
}

/// An entry point as naga reads it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Name of the function.
    pub name: String,
    /// Bindings that it uses, by number.
    pub bindings: Vec<Binding>,
    /// Fields of its `params` block.
    pub params: Vec<Field>,
    /// Bytes of the `params` block; 0 without one.
    pub params_size: u32,
    /// Names of all override constants of the file.
    pub overrides: Vec<String>,
}

impl Kernel {
    /// Returns a kernel of the given file stem and text. Prefer [`kernel!`](crate::kernel!).
    pub const fn new(name: &'static str, source: &'static str) -> Kernel {
        Kernel {
            name,
            source,
            unchecked: false,
            bodies: &[],
            reflection: OnceLock::new(),
        }
    }

    /// Gives entry points their Rust bodies, without which they do not run on a CPU.
    pub const fn native(mut self, bodies: &'static [(&'static str, Native)]) -> Kernel {
        self.bodies = bodies;
        self
    }

    /// Returns the Rust body of an entry point, if it has one.
    pub fn body(&self, entry: &str) -> Option<Native> {
        let body = self.bodies.iter().find(|(name, _)| *name == entry);
        body.map(|(_, body)| *body)
    }

    /// Runs this kernel without checks of array indices and loop bounds, because its loops over
    /// arrays must be unrolled to be fast. It must clamp every load, guard every store, and end all
    /// its loops by itself.
    pub(crate) const fn unchecked(mut self) -> Kernel {
        self.unchecked = true;
        self
    }

    /// Returns the entry point of that name.
    ///
    /// # Panics
    /// If the file is not valid WGSL or has no such entry point: mistakes in the program, not in
    /// its input.
    #[track_caller]
    pub fn entry(&self, name: &str) -> &Entry {
        let entries = self.reflection.get_or_init(|| {
            reflect(self.source)
                .unwrap_or_else(|error| panic!("shaders/{}.wgsl: {error}", self.name))
        });
        entries
            .iter()
            .find(|entry| entry.name == name)
            .unwrap_or_else(|| {
                let have: Vec<_> = entries.iter().map(|entry| &entry.name).collect();
                panic!(
                    "shaders/{}.wgsl has no entry point `{name}`; it has {have:?}",
                    self.name
                )
            })
    }
}

fn reflect(source: &str) -> Result<Vec<Entry>, String> {
    let module =
        naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))?;
    let info = naga::valid::Validator::new(
        naga::valid::ValidationFlags::all(),
        naga::valid::Capabilities::all(),
    )
    .validate(&module)
    .map_err(|error| error.emit_to_string(source))?;
    let overrides: Vec<_> = module
        .overrides
        .iter()
        .filter_map(|(_, constant)| constant.name.clone())
        .collect();
    let entries = module
        .entry_points
        .iter()
        .enumerate()
        .map(|(index, point)| {
            let used = info.get_entry_point(index);
            let mut entry = Entry {
                name: point.name.clone(),
                bindings: vec![],
                params: vec![],
                params_size: 0,
                overrides: overrides.clone(),
            };
            for (handle, variable) in module.global_variables.iter() {
                let Some(at) = &variable.binding else {
                    continue;
                };
                if used[handle].is_empty() {
                    continue;
                }
                let name = variable.name.clone().unwrap_or_default();
                let (access, size) = match variable.space {
                    AddressSpace::Uniform => {
                        let (fields, size) = fields(&module, variable.ty);
                        if name == "params" {
                            (entry.params, entry.params_size) = (fields, size);
                            (Access::Params, size)
                        } else {
                            (Access::Uniform, size)
                        }
                    }
                    AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => {
                        (Access::Write, 0)
                    }
                    _ => (Access::Read, 0),
                };
                entry.bindings.push(Binding {
                    name,
                    index: at.binding,
                    access,
                    size,
                    float: float(&module, variable.ty),
                });
            }
            entry.bindings.sort_by_key(|binding| binding.index);
            entry
        });
    Ok(entries.collect())
}

/// Returns the bytes of each float of an array of floats or of vectors of floats; 0 for anything
/// else.
fn float(module: &Module, array: naga::Handle<naga::Type>) -> u32 {
    let TypeInner::Array { base, .. } = module.types[array].inner else {
        return 0;
    };
    match module.types[base].inner {
        TypeInner::Scalar(scalar) | TypeInner::Vector { scalar, .. }
            if scalar.kind == ScalarKind::Float =>
        {
            scalar.width as u32
        }
        _ => 0,
    }
}

/// Returns the 4-byte scalar fields of a uniform block, and its size in bytes.
fn fields(module: &Module, block: naga::Handle<naga::Type>) -> (Vec<Field>, u32) {
    match &module.types[block].inner {
        TypeInner::Struct { members, span } => {
            let field = |member: &naga::StructMember| Field {
                name: member.name.clone().unwrap_or_default(),
                offset: member.offset,
                float: matches!(module.types[member.ty].inner, TypeInner::Scalar(scalar) if scalar.kind == ScalarKind::Float),
            };
            (members.iter().map(field).collect(), *span)
        }
        _ => (vec![], 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "
        struct Params { n: u32, scale: f32 }
        @group(0) @binding(0) var<uniform> params: Params;
        @group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @group(0) @binding(3) var<uniform> seed: vec4u;
        override WG: u32 = 64;
        @compute @workgroup_size(WG) fn forward() { y[0] = x[0] * params.scale * f32(params.n); }
        @compute @workgroup_size(WG) fn noise() { y[0] = f32(seed.x); }";

    #[test]
    fn an_entry_point_lists_only_the_bindings_it_uses() {
        static KERNEL: Kernel = Kernel::new("sample", SOURCE);
        let forward = KERNEL.entry("forward");
        let names: Vec<_> = forward
            .bindings
            .iter()
            .map(|b| (b.name.as_str(), b.access))
            .collect();
        assert_eq!(
            names,
            [
                ("params", Access::Params),
                ("x", Access::Read),
                ("y", Access::Write)
            ]
        );
        assert_eq!(
            forward
                .params
                .iter()
                .map(|f| (f.name.as_str(), f.offset, f.float))
                .collect::<Vec<_>>(),
            [("n", 0, false), ("scale", 4, true)]
        );
        assert_eq!(forward.overrides, ["WG"]);
        let noise = KERNEL.entry("noise");
        assert_eq!(
            noise
                .bindings
                .iter()
                .map(|b| (b.name.as_str(), b.access))
                .collect::<Vec<_>>(),
            [("y", Access::Write), ("seed", Access::Uniform)]
        );
    }

    #[test]
    #[should_panic(expected = "no entry point `backward`; it has [\"forward\", \"noise\"]")]
    fn an_unknown_entry_point_lists_the_known_ones() {
        static KERNEL: Kernel = Kernel::new("sample", SOURCE);
        KERNEL.entry("backward");
    }
}
