//! Compiled kernels.

use std::sync::atomic::Ordering;

use super::{Once, Shared};
use crate::graph::{Access, Dispatch, Kernel};

/// A compiled entry point with its binding layout.
#[derive(Clone)]
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// Source, entry point, and override constants by their bits.
type Key = (&'static str, String, Vec<(&'static str, u64)>);

/// Shader modules and pipelines, compiled on first use.
#[derive(Default)]
pub(super) struct Pipelines {
    modules: Once<&'static str, wgpu::ShaderModule>,
    pipelines: Once<Key, Pipeline>,
}

/// Identifies the pipeline that a dispatch needs.
pub(super) fn key(dispatch: &Dispatch) -> Key {
    let constants = dispatch.constants.iter();
    let constants = constants.map(|&(name, value)| (name, value.to_bits()));
    (
        dispatch.kernel.source,
        dispatch.entry.name.clone(),
        constants.collect(),
    )
}

impl Shared {
    /// Returns the pipeline of a dispatch. Threads that need different ones compile at the same
    /// time.
    pub fn pipeline(&self, dispatch: &Dispatch) -> Pipeline {
        let pipelines = &self.pipelines.pipelines;
        pipelines.get_or_make(key(dispatch), || self.compile(dispatch))
    }

    fn compile(&self, dispatch: &Dispatch) -> Pipeline {
        let Dispatch {
            kernel,
            entry,
            constants,
            ..
        } = dispatch;
        self.counters.pipelines.fetch_add(1, Ordering::Relaxed);
        let device = &self.device;
        let modules = &self.pipelines.modules;
        let module = modules.get_or_make(kernel.source, || shader_module(device, kernel));
        let bindings = entry.bindings.iter();
        let entries: Vec<_> = bindings
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
}

fn shader_module(device: &wgpu::Device, kernel: &Kernel) -> wgpu::ShaderModule {
    let source = wgpu::ShaderSource::Wgsl(kernel.source.into());
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(kernel.name),
        source,
    };
    if !kernel.unchecked {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: only this crate can declare a kernel `unchecked`, and its source is a file of this
    // crate, never input. Such a kernel keeps every index inside its buffers and arrays by itself
    // and has no endless loop; its op test runs it at sizes around every bound.
    #[allow(unsafe_code)]
    unsafe {
        device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
    }
}
