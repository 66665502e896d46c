//! What a device can do, as far as recording depends on it.

/// Device properties that select a kernel variant while recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Invocations in a subgroup, if the device has subgroup operations and all subgroups have this
    /// size.
    pub subgroup: Option<u32>,
    /// Whether the Rust bodies of kernels run instead of the WGSL, without the limits of graphics
    /// drivers.
    pub native: bool,
    /// Whether the device is a graphics driver that runs on a CPU: barriers and workgroup memory then cost more than they save.
    pub software: bool,
    /// Whether the driver's compiler unrolls loops over arrays and keeps their elements in
    /// registers.
    pub unrolls: bool,
    /// Largest number of invocations in a workgroup.
    pub workgroup: u32,
    /// Side of the square f16 matrices that subgroups multiply with f32 sums, if the device does.
    pub cooperative: Option<u32>,
}

impl Capabilities {
    /// The least that every device has, for recording without one.
    pub const MINIMAL: Capabilities = Capabilities {
        subgroup: None,
        native: false,
        software: false,
        unrolls: false,
        workgroup: 256,
        cooperative: None,
    };
}
