//! The device: which adapter runs, its limits and features, compiled pipelines, buffers and readback.

mod budget;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::graph::Choose;
use crate::graph::{Access, Entry, Kernel};

/// What can go wrong with a device. Every message says what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeviceError {
    #[error("no graphics adapter found.\n{advice}")]
    NoAdapter { advice: String },
    #[error(
        "no adapter matches `{wanted}`. Adapters here:\n{have}Choose one with --adapter INDEX or --adapter NAME."
    )]
    UnknownAdapter { wanted: String, have: String },
    #[error("the adapter {adapter} refused to open: {reason}. Try another one with --adapter.")]
    Refused { adapter: String, reason: String },
    #[error(
        "a tensor of shape {shape:?} takes {bytes} bytes, and {adapter} binds at most {limit} bytes at once. Use a smaller --batch-size or model."
    )]
    TooLarge {
        shape: Vec<usize>,
        bytes: u64,
        limit: u64,
        adapter: String,
    },
    #[error(
        "{tokens} {what}, and attention takes at most {most} on {adapter}. Use larger patches, a smaller picture or a shorter context"
    )]
    TooManyTokens {
        tokens: usize,
        what: &'static str,
        most: usize,
        adapter: String,
    },
    #[error(
        "{kernel} would need {grid:?} workgroups, and a dispatch has at most 65,535 along each axis. Use a smaller --batch-size, or compute it in parts with --accumulate"
    )]
    TooManyGroups { kernel: String, grid: [usize; 3] },
    #[error(
        "{kernel} would count to {number} (`{name}`), and kernels count to 4,294,967,295. Use a smaller --batch-size or model"
    )]
    TooLargeNumber {
        kernel: String,
        name: String,
        number: usize,
    },
    #[error(
        "the device ran out of memory ({0}). Use a smaller --batch-size or model; training also takes less with --accumulate and --checkpoint-activations."
    )]
    OutOfMemory(String),
    #[error(
        "the device was lost: {0}. A driver also gives up on a dispatch that takes it longer than some seconds. Start again (a training: with --resume); if it recurs, use a smaller --batch-size or another --adapter."
    )]
    Lost(String),
    #[error(
        "the device has worked for {seconds} s on one step and is not done: it hangs, or the step is too much for it. Use a smaller --batch-size, compute it in parts with --accumulate, or allow it more seconds with the environment's SEEMORE_TIMEOUT (0 for no limit)"
    )]
    Stuck { seconds: f64 },
    #[error("the driver rejected a command, which is a defect of this program: {0}")]
    Rejected(String),
}

/// The command that installs a Vulkan driver on this system.
fn install_hint() -> String {
    if cfg!(target_os = "linux") {
        let command = std::fs::read_to_string("/etc/os-release")
            .map(|text| driver_command(&text))
            .unwrap_or(DRIVER_ANY);
        format!("Install a Vulkan driver. The software driver runs everywhere: {command}")
    } else if cfg!(target_os = "windows") {
        "Update the graphics driver: DirectX 12 comes with Windows 10 and later.".into()
    } else {
        "Metal comes with macOS 10.13 and later; update the system.".into()
    }
}

const DRIVER_ANY: &str =
    "install the package of your distribution that holds Mesa's Vulkan drivers";

/// Picks the install command by the `ID` and `ID_LIKE` lines of an os-release file.
fn driver_command(os_release: &str) -> &'static str {
    let ids: Vec<&str> = os_release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|ids| ids.trim_matches('"').split(' '))
        .collect();
    let is = |names: &[&str]| ids.iter().any(|id| names.contains(id));
    if is(&["debian", "ubuntu"]) {
        "sudo apt-get install mesa-vulkan-drivers"
    } else if is(&["fedora", "rhel"]) {
        "sudo dnf install mesa-vulkan-drivers"
    } else if is(&["arch"]) {
        "sudo pacman -S vulkan-swrast"
    } else {
        DRIVER_ANY
    }
}

/// What of the adapter decides which form of a kernel is recorded.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Invocations in a subgroup when the adapter has subgroup operations and every subgroup has this size.
    pub subgroup: Option<u32>,
    /// The adapter is a CPU: barriers and workgroup memory cost more than they save.
    pub software: bool,
    /// Most invocations in a workgroup.
    pub workgroup: u32,
    /// Side of the square matrices of halves that subgroups multiply with sums in f32, where the adapter does so.
    pub cooperative: Option<u32>,
    /// Decides between forms where several would do; without one a fixed rule does.
    pub chooser: Option<Arc<dyn Choose>>,
}

/// Counts of what this crate created on the device since it was opened. What wgpu makes for itself is not in them: each
/// write from the host goes through a staging buffer that `Queue::write_buffer` makes and drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    pub buffers: u64,
    /// Of these.
    pub bytes: u64,
    pub bind_groups: u64,
    pub pipelines: u64,
}

#[derive(Default)]
struct Counters {
    buffers: AtomicU64,
    bytes: AtomicU64,
    bind_groups: AtomicU64,
    pipelines: AtomicU64,
}

type PipelineKey = (&'static str, String, Vec<(&'static str, u64)>);

#[derive(Clone)]
pub(crate) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// Things made on first use, each once. Different ones are made at the same time; who wants one that another thread is making
/// waits for it.
type Once<K, T> = Mutex<BTreeMap<K, Arc<OnceLock<T>>>>;

fn once<K: Ord, T: Clone>(things: &Once<K, T>, key: K, make: impl FnOnce() -> T) -> T {
    let cell = things
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .entry(key)
        .or_default()
        .clone();
    cell.get_or_init(make).clone()
}

struct Shared {
    adapter: wgpu::AdapterInfo,
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: wgpu::Limits,
    features: wgpu::Features,
    capabilities: Capabilities,
    modules: Once<&'static str, wgpu::ShaderModule>,
    pipelines: Once<PipelineKey, Pipeline>,
    staging: Mutex<Option<wgpu::Buffer>>,
    failure: Arc<Mutex<Option<DeviceError>>>,
    counters: Counters,
    /// What was submitted by [`Device::submit`] and was not waited for, oldest first.
    flight: Mutex<VecDeque<wgpu::SubmissionIndex>>,
    /// The longest that one submission may take.
    patience: Option<Duration>,
}

/// Submissions that the host may be ahead of the device: each holds on to what the host wrote for it.
const MOST_IN_FLIGHT: usize = 16;

/// The longest that one submission may take: what `SEEMORE_TIMEOUT` says in seconds, else five minutes on hardware and an hour on a
/// software adapter, which comes to its end if slowly.
fn patience(software: bool, told: Option<String>) -> Option<Duration> {
    let default = if software { 3600.0 } else { 300.0 };
    let seconds = told
        .and_then(|told| told.trim().parse::<f64>().ok())
        .filter(|seconds| *seconds >= 0.0)
        .unwrap_or(default);
    (seconds > 0.0)
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
}

/// An open device. Cheap to clone; all clones are the same device.
#[derive(Clone)]
pub struct Device(Arc<Shared>, Option<Arc<dyn Choose>>);

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Device({})", self.adapter())
    }
}

/// One adapter as listed by [`Device::adapters`].
#[derive(Debug, Clone)]
pub struct AdapterInfo {
    pub index: usize,
    pub name: String,
    pub kind: &'static str,
    pub backend: String,
    pub driver: String,
}

impl fmt::Display for AdapterInfo {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{}: {} ({}, {}, {})",
            self.index,
            self.name,
            self.kind,
            self.backend,
            self.driver.trim()
        )
    }
}

fn kind(device: wgpu::DeviceType) -> &'static str {
    match device {
        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
        wgpu::DeviceType::VirtualGpu => "virtual GPU",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    }
}

fn rank(device: wgpu::DeviceType) -> u32 {
    match device {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn line(index: usize, info: &wgpu::AdapterInfo) -> AdapterInfo {
    AdapterInfo {
        index,
        name: info.name.clone(),
        kind: kind(info.device_type),
        backend: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info),
    }
}

/// The adapters of every backend, or only of those that `WGPU_BACKEND` allows (all without it), best first:
/// discrete, integrated, virtual, then software.
fn enumerate(every_backend: bool) -> Vec<wgpu::Adapter> {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    let mut descriptor = descriptor.with_env();
    if every_backend {
        descriptor.backends = backends;
    }
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    adapters.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    adapters
}

fn lines(adapters: &[wgpu::Adapter]) -> Vec<AdapterInfo> {
    adapters
        .iter()
        .enumerate()
        .map(|(index, adapter)| line(index, &adapter.get_info()))
        .collect()
}

fn listed(lines: &[AdapterInfo]) -> String {
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// Why there is no adapter, given the value of `WGPU_BACKEND` and what there would be without it.
fn none_found(backend: Option<String>, without: &[AdapterInfo]) -> DeviceError {
    let advice = match backend {
        Some(backend) if !without.is_empty() => {
            format!(
                "WGPU_BACKEND={backend} excludes every adapter that is here:\n{}Unset WGPU_BACKEND to use them.",
                listed(without)
            )
        }
        _ => install_hint(),
    };
    DeviceError::NoAdapter { advice }
}

/// The position of the adapter that `wanted` (an index, or a part of a name in any case) means.
fn select(lines: &[AdapterInfo], wanted: &str) -> Option<usize> {
    if let Ok(index) = wanted.trim().parse::<usize>() {
        return lines.get(index).map(|line| line.index);
    }
    let wanted = wanted.trim().to_lowercase();
    if wanted.is_empty() {
        // a part of every name
        return None;
    }
    lines
        .iter()
        .find(|line| line.name.to_lowercase().contains(&wanted))
        .map(|line| line.index)
}

/// The side of the matrices of halves, with sums in f32, that subgroups of this adapter multiply: the larger, 16 or 8.
fn cooperative(
    adapter: &wgpu::Adapter,
    info: &wgpu::AdapterInfo,
    limits: &wgpu::Limits,
) -> Option<u32> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP;
    // the kernel is four subgroups of a known size
    let fixed = info.subgroup_min_size == info.subgroup_max_size
        && 4 * info.subgroup_max_size <= limits.max_compute_invocations_per_workgroup;
    if !adapter.features().contains(needed)
        || !fixed
        || limits.max_compute_workgroup_storage_size < 32 << 10
    {
        return None;
    }
    let shapes = adapter.cooperative_matrix_properties();
    let multiplies = |side| {
        shapes.iter().any(|shape| {
            [shape.m_size, shape.n_size, shape.k_size] == [side; 3]
                && (shape.ab_type, shape.cr_type) == (F16, F32)
        })
    };
    [16, 8].into_iter().find(|&side| multiplies(side))
}

fn experimental(enabled: bool) -> wgpu::ExperimentalFeatures {
    if !enabled {
        return wgpu::ExperimentalFeatures::disabled();
    }
    // SAFETY: the one feature that needs it is cooperative matrices, for shaders/matmul_cooperative.wgsl alone: all that it
    // loads into and stores from matrices is workgroup memory at constant places inside its arrays, and its op test runs it at
    // sizes around every bound.
    #[allow(unsafe_code)]
    unsafe {
        wgpu::ExperimentalFeatures::enabled()
    }
}

impl Device {
    /// The adapters in the order that `--adapter INDEX` counts.
    pub fn adapters() -> Vec<AdapterInfo> {
        lines(&enumerate(false))
    }

    /// Opens the adapter that `wanted` names (an index or a part of its name); without it the one of
    /// `WGPU_ADAPTER_NAME`; without that the best.
    ///
    /// # Errors
    /// No adapter, no such adapter, or a driver that refuses to open a device.
    pub fn open(wanted: Option<&str>) -> Result<Device, DeviceError> {
        let adapters = enumerate(false);
        if adapters.is_empty() {
            return Err(none_found(
                std::env::var("WGPU_BACKEND").ok(),
                &lines(&enumerate(true)),
            ));
        }
        let lines = lines(&adapters);
        let wanted = wanted.map(str::to_owned).or_else(|| {
            std::env::var("WGPU_ADAPTER_NAME")
                .ok()
                .filter(|name| !name.is_empty())
        });
        let index = match &wanted {
            None => 0,
            Some(wanted) => select(&lines, wanted).ok_or_else(|| DeviceError::UnknownAdapter {
                wanted: wanted.clone(),
                have: listed(&lines),
            })?,
        };
        Self::from_adapter(&adapters[index])
    }

    fn from_adapter(adapter: &wgpu::Adapter) -> Result<Device, DeviceError> {
        let info = adapter.get_info();
        let optional =
            wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16 | wgpu::Features::TIMESTAMP_QUERY;
        let limits = adapter.limits();
        let cooperative = cooperative(adapter, &info, &limits);
        let mut features = adapter.features() & optional;
        features.set(
            wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
            cooperative.is_some(),
        );
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("seemore"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: experimental(cooperative.is_some()),
            ..Default::default()
        }))
        .map_err(|error| DeviceError::Refused {
            adapter: info.name.clone(),
            reason: error.to_string(),
        })?;

        let failure = Arc::new(Mutex::new(None));
        let slot = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            let error = match error {
                wgpu::Error::OutOfMemory { source } => DeviceError::OutOfMemory(source.to_string()),
                // what a device that is lost refuses, if that comes before the loss is told
                other if other.to_string().contains("is lost") => {
                    DeviceError::Lost("it does not take commands any more".into())
                }
                other => DeviceError::Rejected(other.to_string()),
            };
            keep_first(&slot, error);
        }));
        let slot = failure.clone();
        // also called when the last clone is dropped: nobody asks any more then
        device.set_device_lost_callback(move |_, message| {
            keep_first(&slot, DeviceError::Lost(message))
        });

        let fixed = info.subgroup_min_size == info.subgroup_max_size
            && features.contains(wgpu::Features::SUBGROUP);
        let capabilities = Capabilities {
            subgroup: fixed.then_some(info.subgroup_min_size),
            software: info.device_type == wgpu::DeviceType::Cpu,
            workgroup: limits
                .max_compute_invocations_per_workgroup
                .min(limits.max_compute_workgroup_size_x),
            cooperative,
            chooser: None,
        };
        let patience = patience(capabilities.software, std::env::var("SEEMORE_TIMEOUT").ok());
        Ok(Device(
            Arc::new(Shared {
                adapter: info,
                device,
                queue,
                limits,
                features,
                capabilities,
                modules: Mutex::default(),
                pipelines: Mutex::default(),
                staging: Mutex::default(),
                failure,
                counters: Counters::default(),
                flight: Mutex::default(),
                patience,
            }),
            None,
        ))
    }

    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            chooser: self.1.clone(),
            ..self.0.capabilities.clone()
        }
    }

    /// The same device, on which `chooser` decides between forms of an op.
    pub fn choosing(&self, chooser: Arc<dyn Choose>) -> Device {
        Device(self.0.clone(), Some(chooser))
    }

    /// The adapter's name as the driver gives it.
    pub fn name(&self) -> &str {
        &self.0.adapter.name
    }

    /// One line for records: name, kind, backend, driver.
    pub fn adapter(&self) -> String {
        let info = &self.0.adapter;
        format!(
            "{} ({}, {}, {} {})",
            info.name,
            kind(info.device_type),
            info.backend,
            info.driver,
            info.driver_info.trim()
        )
    }

    /// What people are told: the adapter, and that a software adapter is none.
    pub fn describe(&self) -> String {
        let line = self.adapter();
        if self.0.capabilities.software {
            format!("{line}\nNO GPU IN USE: this is a software driver, the CPU does all the work")
        } else {
            line
        }
    }

    /// Features and limits that decide what runs and how fast, by name.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let (info, limits, features) = (&self.0.adapter, &self.0.limits, self.0.features);
        let yes = |feature| {
            if features.contains(feature) {
                "yes"
            } else {
                "no"
            }
            .to_owned()
        };
        let mega = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
        let subgroups = match (
            features.contains(wgpu::Features::SUBGROUP),
            info.subgroup_min_size,
            info.subgroup_max_size,
        ) {
            (false, ..) => "no".to_owned(),
            (true, least, most) if least == most => format!("of {least}"),
            (true, least, most) => format!("of {least} to {most}: kernels do without"),
        };
        let matrices = self
            .0
            .capabilities
            .cooperative
            .map_or("no".into(), |side| format!("{side} x {side}"));
        vec![
            ("subgroups", subgroups),
            ("16-bit floats", yes(wgpu::Features::SHADER_F16)),
            ("cooperative matrices", matrices),
            ("timestamps", yes(wgpu::Features::TIMESTAMP_QUERY)),
            ("largest tensor", mega(self.most_bytes())),
            (
                "invocations in a workgroup",
                limits.max_compute_invocations_per_workgroup.to_string(),
            ),
            (
                "workgroup memory",
                format!("{} bytes", limits.max_compute_workgroup_storage_size),
            ),
            (
                "storage buffers in a kernel",
                limits.max_storage_buffers_per_shader_stage.to_string(),
            ),
        ]
    }

    /// Whether per-kernel times can be measured.
    pub fn has_timestamps(&self) -> bool {
        self.0.features.contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Bytes that can still be allocated, where it can be found out: for software adapters on Linux the system's free memory,
    /// on Vulkan what the driver tells. Other programs may take it at any time.
    pub fn free_memory(&self) -> Option<u64> {
        if self.0.capabilities.software {
            budget::system()
        } else {
            budget::vulkan(&self.0.device)
        }
    }

    /// What was created so far.
    pub fn created(&self) -> Created {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.0.counters;
        Created {
            buffers: read(&counters.buffers),
            bytes: read(&counters.bytes),
            bind_groups: read(&counters.bind_groups),
            pipelines: read(&counters.pipelines),
        }
    }

    /// The first error that the device reported since it was opened, if any. It stays: after one nothing that the device
    /// computes can be trusted.
    pub fn check(&self) -> Result<(), DeviceError> {
        match self
            .0
            .failure
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone()
        {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Does work that may fail on this driver without harm to what comes after: its errors are not those of the device.
    pub(crate) fn attempt<T>(
        &self,
        work: impl FnOnce() -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let scopes = [
            wgpu::ErrorFilter::OutOfMemory,
            wgpu::ErrorFilter::Internal,
            wgpu::ErrorFilter::Validation,
        ];
        let scopes = scopes.map(|filter| self.0.device.push_error_scope(filter));
        let result = work();
        // the last one pushed is the first to end
        let errors = scopes
            .into_iter()
            .rev()
            .filter_map(|scope| pollster::block_on(scope.pop()));
        match errors.collect::<Vec<_>>().pop() {
            Some(wgpu::Error::OutOfMemory { source }) => {
                Err(DeviceError::OutOfMemory(source.to_string()))
            }
            Some(error) => Err(DeviceError::Rejected(error.to_string())),
            None => result,
        }
    }

    pub(crate) fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    pub(crate) fn limits(&self) -> &wgpu::Limits {
        &self.0.limits
    }

    /// Most bytes of a tensor.
    pub fn most_bytes(&self) -> u64 {
        self.0
            .limits
            .max_storage_buffer_binding_size
            .min(self.0.limits.max_buffer_size)
    }

    /// Most 4-byte elements of a tensor.
    pub(crate) fn most_elements(&self) -> usize {
        (self.most_bytes() / 4) as usize
    }

    /// A zeroed buffer for `shape` 4-byte elements, padded to 16 bytes so that kernels may view it as `vec4`.
    pub(crate) fn buffer(&self, shape: &[usize]) -> Result<wgpu::Buffer, DeviceError> {
        let (bytes, limit) = (padded_bytes(shape), self.most_bytes());
        if bytes > limit {
            return Err(DeviceError::TooLarge {
                shape: shape.to_vec(),
                bytes,
                limit,
                adapter: self.0.adapter.name.clone(),
            });
        }
        use wgpu::BufferUsages as Usage;
        let usage = Usage::STORAGE | Usage::UNIFORM | Usage::COPY_DST | Usage::COPY_SRC;
        Ok(self.raw_buffer(bytes, usage))
    }

    pub(crate) fn raw_buffer(&self, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.0.counters.buffers.fetch_add(1, Ordering::Relaxed);
        self.0.counters.bytes.fetch_add(size, Ordering::Relaxed);
        self.0.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    pub(crate) fn bind_group(&self, descriptor: &wgpu::BindGroupDescriptor) -> wgpu::BindGroup {
        self.0.counters.bind_groups.fetch_add(1, Ordering::Relaxed);
        self.0.device.create_bind_group(descriptor)
    }

    /// The compiled form of an entry point under the given override constants, made on first use. Threads that want different
    /// ones compile at the same time.
    pub(crate) fn pipeline(
        &self,
        kernel: &'static Kernel,
        entry: &Entry,
        constants: &[(&'static str, f64)],
    ) -> Pipeline {
        let key = (
            kernel.source,
            entry.name.clone(),
            constants
                .iter()
                .map(|&(name, value)| (name, value.to_bits()))
                .collect(),
        );
        once(&self.0.pipelines, key, || {
            self.compile(kernel, entry, constants)
        })
    }

    fn compile(
        &self,
        kernel: &'static Kernel,
        entry: &Entry,
        constants: &[(&'static str, f64)],
    ) -> Pipeline {
        self.0.counters.pipelines.fetch_add(1, Ordering::Relaxed);
        let device = &self.0.device;
        let module = once(&self.0.modules, kernel.source, || {
            shader_module(device, kernel)
        });
        let entries: Vec<_> = entry
            .bindings
            .iter()
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding: binding.index,
                visibility: wgpu::ShaderStages::COMPUTE,
                count: None,
                ty: wgpu::BindingType::Buffer {
                    has_dynamic_offset: false,
                    min_binding_size: None,
                    ty: match binding.access {
                        Access::Params | Access::Uniform => wgpu::BufferBindingType::Uniform,
                        Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
                        Access::Write => wgpu::BufferBindingType::Storage { read_only: false },
                    },
                },
            })
            .collect();
        let label = format!("{}.{}", kernel.name, entry.name);
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(&label),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(&entry.name),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }

    /// Waits for all work that was submitted.
    pub fn wait(&self) -> Result<(), DeviceError> {
        self.land(0)?;
        self.wait_for(None)?;
        self.check()
    }

    /// Waits for one submission, or for the last.
    fn wait_for(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<(), DeviceError> {
        let timeout = self.0.patience;
        match self.0.device.poll(wgpu::PollType::Wait {
            submission_index,
            timeout,
        }) {
            Ok(_) => Ok(()),
            Err(wgpu::PollError::Timeout) => Err(DeviceError::Stuck {
                seconds: timeout.unwrap_or_default().as_secs_f64(),
            }),
            Err(error) => Err(DeviceError::Lost(error.to_string())),
        }
    }

    /// Waits until at most so many submissions are under way. Each of them may take its time.
    fn land(&self, most: usize) -> Result<(), DeviceError> {
        loop {
            let mut flight = self.0.flight.lock().unwrap_or_else(|e| e.into_inner());
            if flight.len() <= most {
                return Ok(());
            }
            let oldest = flight.pop_front();
            drop(flight);
            self.wait_for(oldest)?;
        }
    }

    /// Submits commands without waiting for them, but for those of long ago.
    pub(crate) fn submit(&self, commands: wgpu::CommandEncoder) -> Result<(), DeviceError> {
        let index = self.0.queue.submit([commands.finish()]);
        self.0
            .flight
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push_back(index);
        // lets the driver recycle what earlier runs used; does not wait
        self.0
            .device
            .poll(wgpu::PollType::Poll)
            .map_err(|error| DeviceError::Lost(error.to_string()))?;
        self.land(MOST_IN_FLIGHT)?;
        self.check()
    }

    /// Looks again and again whether `done`, for [`AWAKE`] at most. A wait that sleeps costs a wake-up, and on a software
    /// adapter lets the cores fall asleep that every dispatch must then wake: a token took 6 to 8 ms on two idle cores, 2.9 ms so,
    /// and less CPU time too.
    fn stay_awake(&self, done: impl Fn() -> bool) -> Result<(), DeviceError> {
        let start = Instant::now();
        while !done() && start.elapsed() < AWAKE {
            self.0
                .device
                .poll(wgpu::PollType::Poll)
                .map_err(|error| DeviceError::Lost(error.to_string()))?;
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Copies `bytes` bytes of a buffer, a multiple of 4 as `offset`, to the host, waiting for all work submitted before.
    pub(crate) fn read_bytes(
        &self,
        buffer: &wgpu::Buffer,
        offset: u64,
        bytes: u64,
    ) -> Result<Vec<u8>, DeviceError> {
        self.submit_and_read(
            self.0.device.create_command_encoder(&Default::default()),
            buffer,
            offset,
            bytes,
        )
    }

    /// Submits `commands` and copies `bytes` bytes of a buffer, a multiple of 4 as `offset`, to the host after them, waiting for
    /// all that was submitted.
    pub(crate) fn submit_and_read(
        &self,
        mut commands: wgpu::CommandEncoder,
        buffer: &wgpu::Buffer,
        offset: u64,
        bytes: u64,
    ) -> Result<Vec<u8>, DeviceError> {
        let size = bytes.next_multiple_of(8);
        let mut slot = self.0.staging.lock().unwrap_or_else(|e| e.into_inner());
        if slot.as_ref().is_none_or(|staging| staging.size() < size) {
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            *slot =
                Some(self.raw_buffer(staging_bytes(size, self.0.limits.max_buffer_size), usage));
        }
        let Some(staging) = slot.as_ref() else {
            unreachable!("made above")
        };
        commands.copy_buffer_to_buffer(buffer, offset, staging, 0, bytes);
        self.0.queue.submit([commands.finish()]);
        let mapped = Arc::new(OnceLock::new());
        let result = mapped.clone();
        staging.map_async(wgpu::MapMode::Read, 0..size, move |outcome| {
            // called once
            let _ = result.set(outcome);
        });
        self.stay_awake(|| mapped.get().is_some())?;
        self.wait()?;
        if let Some(Err(error)) = mapped.get() {
            return Err(DeviceError::Lost(error.to_string()));
        }
        let data = staging
            .get_mapped_range(0..size)
            .map_err(|error| DeviceError::Lost(error.to_string()))?[..bytes as usize]
            .to_vec();
        staging.unmap();
        Ok(data)
    }
}

/// How long a read waits without sleeping: a few tokens.
const AWAKE: Duration = Duration::from_millis(10);

fn shader_module(device: &wgpu::Device, kernel: &Kernel) -> wgpu::ShaderModule {
    let source = wgpu::ShaderSource::Wgsl(kernel.source.into());
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(kernel.name),
        source,
    };
    if !kernel.unchecked {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: the source is a file of this crate, never input. A kernel is declared `unchecked` only if it keeps every index
    // inside its buffers and arrays by itself and has no loop without an end; its op test runs it at sizes around every bound.
    #[allow(unsafe_code)]
    unsafe {
        device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

fn keep_first(slot: &Mutex<Option<DeviceError>>, error: DeviceError) {
    slot.lock()
        .unwrap_or_else(|e| e.into_inner())
        .get_or_insert(error);
}

/// Bytes of a staging buffer for reads of `size` bytes: more, so that it is seldom made again, where the limit allows it.
fn staging_bytes(size: u64, limit: u64) -> u64 {
    size.next_power_of_two().max(1 << 16).min(limit).max(size)
}

/// Bytes of a buffer for `shape` 4-byte elements, a multiple of 16.
pub(crate) fn padded_bytes(shape: &[usize]) -> u64 {
    (4 * shape.iter().product::<usize>() as u64)
        .next_multiple_of(16)
        .max(16)
}

/// Bytes that a part of a buffer must start at a multiple of to be bound: the most that an adapter may ask for.
pub(crate) const PART_ALIGNMENT: u64 = 256;

/// Numbers that stay on the device between runs and plans: parameters, optimizer state, key/value caches.
/// Cheap to clone; all clones are the same numbers. A tensor may be a part of another.
#[derive(Clone)]
pub struct Tensor {
    gpu: Device,
    shape: Vec<usize>,
    place: Place,
}

/// Where in a buffer an array begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    pub buffer: wgpu::Buffer,
    /// In bytes.
    pub offset: u64,
}

impl Tensor {
    /// A tensor of zeros, of 4-byte elements (`f32` or `u32`).
    pub fn zeros(gpu: &Device, shape: &[usize]) -> Result<Tensor, DeviceError> {
        Ok(Tensor {
            gpu: gpu.clone(),
            shape: shape.to_vec(),
            place: gpu.buffer(shape)?.into(),
        })
    }

    /// A tensor with the given elements in row-major order.
    #[track_caller]
    pub fn new<T: bytemuck::Pod>(
        gpu: &Device,
        shape: &[usize],
        data: &[T],
    ) -> Result<Tensor, DeviceError> {
        let tensor = Self::zeros(gpu, shape)?;
        tensor.write(data);
        Ok(tensor)
    }

    /// The elements from the `first` on as a tensor of their own shape, without a copy. A tape can bind it if `first` is a
    /// multiple of 64, see [`is_aligned`](Self::is_aligned).
    ///
    /// # Panics
    /// When it would reach past the end.
    #[track_caller]
    pub fn part(&self, first: usize, shape: &[usize]) -> Tensor {
        let len: usize = shape.iter().product();
        assert!(
            first + len <= self.len(),
            "{shape:?} from element {first} on is not a part of {:?}",
            self.shape
        );
        let place = Place {
            buffer: self.place.buffer.clone(),
            offset: self.place.offset + 4 * first as u64,
        };
        Tensor {
            gpu: self.gpu.clone(),
            shape: shape.to_vec(),
            place,
        }
    }

    /// Whether a tape can bind it: every tensor that is not a part of another, and parts that begin at a multiple of 256 bytes.
    pub fn is_aligned(&self) -> bool {
        self.place.offset.is_multiple_of(PART_ALIGNMENT)
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces all elements.
    #[track_caller]
    pub fn write<T: bytemuck::Pod>(&self, data: &[T]) {
        self.place.write(&self.gpu, self.len(), data);
    }

    /// Reads all elements, waiting for the device.
    pub fn read<T: bytemuck::Pod>(&self) -> Result<Vec<T>, DeviceError> {
        self.place.read(&self.gpu, self.len())
    }

    /// A tensor that only has a shape: to be neither read, written nor bound.
    pub(crate) fn in_place_of(&self, shape: &[usize]) -> Tensor {
        Tensor {
            shape: shape.to_vec(),
            ..self.clone()
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Where in `whole` this tensor begins, in elements, if it is a part of it.
    pub(crate) fn first_in(&self, whole: &Tensor) -> Option<usize> {
        let first = self.place.offset.checked_sub(whole.place.offset)? as usize / 4;
        (self.place.buffer == whole.place.buffer && first + self.len() <= whole.len())
            .then_some(first)
    }

    pub(crate) fn same(&self, other: &Tensor) -> bool {
        self.place == other.place && self.len() == other.len()
    }
}

impl From<wgpu::Buffer> for Place {
    fn from(buffer: wgpu::Buffer) -> Place {
        Place { buffer, offset: 0 }
    }
}

impl Place {
    #[track_caller]
    pub fn write<T: bytemuck::Pod>(&self, gpu: &Device, len: usize, data: &[T]) {
        assert!(
            size_of::<T>() == 4 && data.len() == len,
            "writing {} elements of {} bytes into {len} of 4",
            data.len(),
            size_of::<T>()
        );
        gpu.0
            .queue
            .write_buffer(&self.buffer, self.offset, bytemuck::cast_slice(data));
    }

    pub fn read<T: bytemuck::Pod>(&self, gpu: &Device, len: usize) -> Result<Vec<T>, DeviceError> {
        let bytes = gpu.read_bytes(&self.buffer, self.offset, 4 * len as u64)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    /// As a binding of an array of `shape`, with the padding behind it.
    pub fn binding(&self, shape: &[usize]) -> wgpu::BindingResource<'_> {
        let size = padded_bytes(shape).min(self.buffer.size() - self.offset);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            size: std::num::NonZeroU64::new(size),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_selected_by_index_or_part_of_a_name() {
        let line = |index, name: &str| AdapterInfo {
            index,
            name: name.into(),
            kind: "software",
            backend: "vulkan".into(),
            driver: String::new(),
        };
        let lines = [
            line(0, "NVIDIA H100"),
            line(1, "NVIDIA H100"),
            line(2, "llvmpipe (LLVM 15)"),
        ];
        assert_eq!(select(&lines, "1"), Some(1));
        assert_eq!(select(&lines, "LLVM"), Some(2));
        assert_eq!(select(&lines, "nvidia"), Some(0));
        assert_eq!(select(&lines, "3"), None);
        assert_eq!(select(&lines, "radeon"), None);
        assert_eq!(select(&lines, ""), None);
        assert_eq!(select(&lines, " "), None);
    }

    #[test]
    fn the_install_command_follows_the_distribution() {
        assert!(driver_command("NAME=x\nID=debian\n").contains("apt-get"));
        assert!(driver_command("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n").contains("apt-get"));
        assert!(driver_command("ID=fedora").contains("dnf"));
        assert!(driver_command("ID=manjaro\nID_LIKE=arch").contains("pacman"));
        assert_eq!(driver_command("ID=plan9"), DRIVER_ANY);
    }

    #[test]
    fn an_unknown_adapter_lists_the_known_ones() {
        let Err(error) = Device::open(Some("no such adapter")) else {
            panic!("opened an adapter that does not exist")
        };
        let text = error.to_string();
        assert!(
            text.contains("no such adapter") && text.contains("0: ") && text.contains("--adapter"),
            "{text}"
        );
    }

    #[test]
    fn a_backend_that_excludes_the_adapters_is_named() {
        let here = lines(&enumerate(true));
        assert!(!here.is_empty());
        let text = none_found(Some("gl".into()), &here).to_string();
        assert!(
            text.contains("WGPU_BACKEND=gl excludes")
                && text.contains("0: ")
                && text.contains("Unset WGPU_BACKEND"),
            "{text}"
        );
        let text = none_found(Some("gl".into()), &[]).to_string();
        assert!(
            text.contains(&install_hint()) && !text.contains("WGPU_BACKEND"),
            "{text}"
        );
    }

    #[test]
    fn a_staging_buffer_stays_within_the_limit() {
        const GIB: u64 = 1 << 30;
        assert_eq!(staging_bytes(16, 2 * GIB), 1 << 16);
        assert_eq!(staging_bytes(3 << 20, 2 * GIB), 4 << 20);
        assert_eq!(staging_bytes(GIB + 16, 2 * GIB - 1), 2 * GIB - 1);
        // the copy is rounded up to 16 bytes
        assert_eq!(staging_bytes(2 * GIB, 2 * GIB - 4), 2 * GIB);
    }

    #[test]
    fn threads_that_want_the_same_thing_make_it_once_and_others_meanwhile() {
        let things: Once<u32, usize> = Once::default();
        let made = AtomicU64::new(0);
        let both = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for key in [0, 1, 0, 1] {
                let (things, made, both) = (&things, &made, &both);
                scope.spawn(move || {
                    let got = once(things, key, || {
                        made.fetch_add(1, Ordering::Relaxed);
                        // passed only while the other key is being made, too
                        both.wait();
                        key as usize
                    });
                    assert_eq!(got, key as usize);
                });
            }
        });
        assert_eq!(made.into_inner(), 2);
    }

    #[test]
    fn a_tensor_reads_back_what_was_written() {
        let gpu = Device::open(None).unwrap();
        let tensor = Tensor::new(&gpu, &[3, 1], &[1.0f32, -2.0, 3.5]).unwrap();
        assert_eq!(tensor.read::<f32>().unwrap(), [1.0, -2.0, 3.5]);
        tensor.write(&[7u32, 8, 9]);
        assert_eq!(tensor.read::<u32>().unwrap(), [7, 8, 9]);
    }

    #[test]
    fn a_part_of_a_tensor_is_the_same_numbers() {
        let gpu = Device::open(None).unwrap();
        let whole = Tensor::new(&gpu, &[70], &(0..70).collect::<Vec<u32>>()).unwrap();
        let part = whole.part(64, &[2, 3]);
        assert_eq!(part.read::<u32>().unwrap(), [64, 65, 66, 67, 68, 69]);
        part.write(&[1u32, 2, 3, 4, 5, 6]);
        assert_eq!(whole.read::<u32>().unwrap()[62..66], [62, 63, 1, 2]);
        assert_eq!(
            (
                part.first_in(&whole),
                whole.first_in(&part),
                part.part(1, &[2]).first_in(&whole)
            ),
            (Some(64), None, Some(65))
        );
        assert!(part.is_aligned() && !whole.part(1, &[4]).is_aligned());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_device_tells_what_memory_is_left() {
        let gpu = Device::open(None).unwrap();
        assert!(gpu.free_memory().is_some_and(|bytes| bytes > 1 << 20));
        // hardware or not, a driver that has the extension answers
        assert!(budget::vulkan(gpu.device()).is_none_or(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn a_device_may_take_as_long_as_the_environment_says() {
        let seconds = |told: Option<&str>| {
            patience(false, told.map(str::to_owned)).map(|time| time.as_secs_f64())
        };
        assert_eq!(
            [
                seconds(None),
                seconds(Some("0")),
                seconds(Some("2.5")),
                seconds(Some("soon"))
            ],
            [Some(300.0), None, Some(2.5), Some(300.0)]
        );
        assert_eq!(patience(true, None), Some(Duration::from_secs(3600)));
    }

    #[test]
    fn a_lost_device_is_an_error_of_everything_and_no_panic() {
        let gpu = Device::open(None).unwrap();
        let mut tape = crate::graph::Tape::new(gpu.capabilities());
        let x = tape.input(&[8]);
        let y = tape.scale(x, 2.0);
        tape.hold(y);
        let plan = crate::device::Plan::new(&gpu, tape).unwrap();
        let tensor = Tensor::new(&gpu, &[8], &[1.0f32; 8]).unwrap();
        plan.run().unwrap();
        gpu.device().destroy();
        // a run only submits, and may not know yet
        let _ = plan.run();
        let text = plan
            .read::<f32>(y)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            text.contains("the device was lost") && text.contains("--resume"),
            "{text}"
        );
        assert!(tensor.read::<f32>().is_err() && gpu.wait().is_err() && plan.run().is_err());
    }

    #[test]
    fn a_tensor_past_the_limit_is_an_error_that_says_so() {
        let gpu = Device::open(None).unwrap();
        let Err(error) = Tensor::zeros(&gpu, &[1 << 20, 1 << 20]) else {
            panic!("4 TiB fitted")
        };
        assert!(error.to_string().contains("--batch-size"), "{error}");
    }
}
