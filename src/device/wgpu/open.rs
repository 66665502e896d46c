//! Opening an adapter: features, limits and capabilities.

use std::sync::Arc;

use super::submission::timeout;
use super::{Counters, Failure, Shared, Submissions, WgpuExecutor, adapters};
use crate::device::DeviceError;
use crate::device::executor::DeviceInfo;
use crate::graph::Capabilities;

impl WgpuExecutor {
    /// Opens the adapter that `wanted` names by index or part of its name.
    pub async fn open(wanted: &str) -> Result<WgpuExecutor, DeviceError> {
        let adapter = adapters::choose(wanted).await?;
        let limits = adapter.limits();
        Self::open_adapter(adapter, limits).await
    }

    /// Like [`open`](Self::open), with smaller limits than the adapter has.
    #[cfg(test)]
    pub(super) async fn open_limited(
        wanted: &str,
        limits: wgpu::Limits,
    ) -> Result<WgpuExecutor, DeviceError> {
        Self::open_adapter(adapters::choose(wanted).await?, limits).await
    }

    /// Opens the best adapter that is no software driver, if there is one.
    pub async fn open_gpu() -> Result<Option<WgpuExecutor>, DeviceError> {
        let Some(adapter) = adapters::gpu().await else {
            return Ok(None);
        };
        let limits = adapter.limits();
        Self::open_adapter(adapter, limits).await.map(Some)
    }

    async fn open_adapter(
        adapter: wgpu::Adapter,
        limits: wgpu::Limits,
    ) -> Result<WgpuExecutor, DeviceError> {
        let info = adapter.get_info();
        let optional =
            wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16 | wgpu::Features::TIMESTAMP_QUERY;
        let cooperative = cooperative(&adapter, &info, &limits);
        let mut features = adapter.features() & optional;
        features.set(
            wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
            cooperative.is_some(),
        );
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("seemore"),
                required_features: features,
                required_limits: limits.clone(),
                experimental_features: experimental(cooperative.is_some()),
                ..Default::default()
            })
            .await
            .map_err(|error| DeviceError::Refused {
                adapter: info.name.clone(),
                reason: error.to_string(),
            })?;
        let failure = Arc::new(Failure::default());
        report_failures(&device, &failure);

        let fixed = info.subgroup_min_size == info.subgroup_max_size
            && features.contains(wgpu::Features::SUBGROUP);
        let capabilities = Capabilities {
            subgroup: fixed.then_some(info.subgroup_min_size),
            native: false,
            software: info.device_type == wgpu::DeviceType::Cpu,
            unrolls: !info.name.starts_with("SwiftShader"),
            workgroup: limits
                .max_compute_invocations_per_workgroup
                .min(limits.max_compute_workgroup_size_x),
            cooperative,
        };
        let limit = std::env::var("SEEMORE_TIMEOUT").ok();
        Ok(WgpuExecutor(Arc::new(Shared {
            device,
            queue,
            info: describe(&info, &limits, features, capabilities),
            limits,
            features,
            capabilities,
            pipelines: Default::default(),
            memory: Default::default(),
            submissions: Submissions::new(timeout(capabilities.software, limit)),
            failure,
            counters: Counters::default(),
        })))
    }
}

/// Returns the size of the largest buffer that a kernel can bind, in bytes.
pub(super) fn max_bytes(limits: &wgpu::Limits) -> u64 {
    limits
        .max_storage_buffer_binding_size
        .min(limits.max_buffer_size)
}

/// Keeps the first error of the device in `failure`, instead of the panic that wgpu has by default.
fn report_failures(device: &wgpu::Device, failure: &Arc<Failure>) {
    let slot = failure.clone();
    device.on_uncaptured_error(Arc::new(move |error| {
        let error = match error {
            wgpu::Error::OutOfMemory { source } => DeviceError::OutOfMemory(source.to_string()),
            // refused by a lost device before the loss itself is reported
            other if other.to_string().contains("is lost") => {
                DeviceError::Lost("it does not take commands any more".into())
            }
            other => DeviceError::Rejected(other.to_string()),
        };
        slot.keep_first(error);
    }));
    let slot = failure.clone();
    // also called when the last clone of the device is dropped, when nobody asks any more
    device.set_device_lost_callback(move |_, message| {
        slot.keep_first(DeviceError::Lost(message));
    });
}

/// Returns what people are told about a device.
fn describe(
    info: &wgpu::AdapterInfo,
    limits: &wgpu::Limits,
    features: wgpu::Features,
    capabilities: Capabilities,
) -> DeviceInfo {
    let yes = |feature| {
        let has = features.contains(feature);
        if has { "yes" } else { "no" }.to_owned()
    };
    let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
    let subgroups = match (
        features.contains(wgpu::Features::SUBGROUP),
        info.subgroup_min_size,
        info.subgroup_max_size,
    ) {
        (false, ..) => "no".to_owned(),
        (true, least, most) if least == most => format!("of {least}"),
        (true, least, most) => format!("of {least} to {most}: not used by kernels"),
    };
    let matrices = capabilities.cooperative;
    let facts = vec![
        ("subgroups", subgroups),
        ("16-bit floats", yes(wgpu::Features::SHADER_F16)),
        (
            "cooperative matrices",
            matrices.map_or("no".into(), |side| format!("{side} x {side}")),
        ),
        ("timestamps", yes(wgpu::Features::TIMESTAMP_QUERY)),
        ("largest tensor", megabytes(max_bytes(limits))),
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
    ];
    let line = format!(
        "{} ({}, {}, {} {})",
        info.name,
        adapters::kind(info.device_type),
        info.backend,
        info.driver,
        info.driver_info.trim()
    );
    DeviceInfo {
        name: info.name.clone(),
        line,
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        facts,
    }
}

/// Returns the side of the f16 matrices, 16 or else 8, that subgroups of this adapter multiply with
/// f32 sums.
fn cooperative(
    adapter: &wgpu::Adapter,
    info: &wgpu::AdapterInfo,
    limits: &wgpu::Limits,
) -> Option<u32> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP;
    // the kernel has four subgroups of a known size
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
    // SAFETY: the one feature that needs it is cooperative matrices, used by
    // shaders/matmul_cooperative.wgsl alone. It loads and stores matrices only in workgroup memory,
    // at constant places inside its arrays, and its op test runs it at sizes around every bound.
    #[allow(unsafe_code)]
    unsafe {
        wgpu::ExperimentalFeatures::enabled()
    }
}
