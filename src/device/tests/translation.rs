//! Every kernel variant in the languages of the graphics systems that are not at hand: what the
//! first dispatch on such a system would report is found here.
//!
//! Options are those of wgpu's backends. The results are only written, not compiled, except that
//! `spirv-val` checks SPIR-V.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use naga::back::{glsl, hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::ModuleInfo;
use naga::{AddressSpace, Module, ResourceBinding, ShaderStage};
use rayon::prelude::*;

use super::variants::{DEVICES, Variant, variants};
use crate::graph::Capabilities;

/// A language to translate kernels to.
struct Target {
    name: &'static str,
    /// Whether devices with these capabilities use the language.
    has: fn(&Capabilities) -> bool,
    translate: fn(&Variant, &Module, &ModuleInfo) -> Result<(), String>,
}

const TARGETS: [Target; 8] = [
    Target {
        name: "SPIR-V of Vulkan 1.1",
        // cooperative matrices need SPIR-V 1.6
        has: |c| c.cooperative.is_none(),
        translate: |variant, module, info| {
            let words = spirv(variant, module, info, (1, 3))?;
            validate(&words, "vulkan1.1")
        },
    },
    Target {
        name: "SPIR-V of Vulkan 1.3",
        has: |_| true,
        translate: |variant, module, info| {
            let words = spirv(variant, module, info, (1, 6))?;
            if variant
                .kernel
                .source
                .contains("enable wgpu_cooperative_matrix;")
            {
                // the spirv-val of Debian 12 is older than SPV_KHR_cooperative_matrix
                return Ok(());
            }
            validate(&words, "vulkan1.3")
        },
    },
    Target {
        name: "HLSL of shader model 5.1",
        // wgpu offers subgroups from shader model 6.0 on, and no cooperative matrices on DirectX
        has: |c| c.subgroup.is_none() && c.cooperative.is_none(),
        translate: |variant, module, info| hlsl(variant, module, info, hlsl::ShaderModel::V5_1),
    },
    Target {
        name: "HLSL of shader model 6.0",
        has: |c| c.cooperative.is_none(),
        translate: |variant, module, info| hlsl(variant, module, info, hlsl::ShaderModel::V6_0),
    },
    Target {
        name: "MSL 2.4",
        // Metal has simdgroup matrices of 8 by 8 alone
        has: |c| c.cooperative != Some(16),
        translate: |variant, module, info| msl(variant, module, info, (2, 4)),
    },
    Target {
        name: "MSL 3.1",
        has: |c| c.cooperative != Some(16),
        translate: |variant, module, info| msl(variant, module, info, (3, 1)),
    },
    Target {
        name: "GLSL ES 3.1",
        // OpenGL ES has no subgroups in its core, and neither has cooperative matrices
        has: |c| c.subgroup.is_none() && c.cooperative.is_none(),
        translate: |variant, module, info| {
            glsl(variant, module, info, glsl::Version::new_gles(310))
        },
    },
    Target {
        name: "GLSL 4.3",
        // subgroups are an extension of GLSL 4.5
        has: |c| c.subgroup.is_none() && c.cooperative.is_none(),
        translate: |variant, module, info| glsl(variant, module, info, glsl::Version::Desktop(430)),
    },
];

fn bindings(module: &Module) -> impl Iterator<Item = (ResourceBinding, AddressSpace)> {
    let variables = module.global_variables.iter();
    variables.filter_map(|(_, variable)| Some((variable.binding?, variable.space)))
}

fn policy(variant: &Variant) -> BoundsCheckPolicy {
    match variant.kernel.unchecked {
        true => BoundsCheckPolicy::Unchecked,
        false => BoundsCheckPolicy::Restrict,
    }
}

fn policies(variant: &Variant) -> BoundsCheckPolicies {
    BoundsCheckPolicies {
        index: policy(variant),
        buffer: policy(variant),
        ..BoundsCheckPolicies::default()
    }
}

fn spirv(
    variant: &Variant,
    module: &Module,
    info: &ModuleInfo,
    lang_version: (u8, u8),
) -> Result<Vec<u32>, String> {
    use spv::Capability;
    let mut capabilities = vec![Capability::Shader, Capability::Matrix];
    let needs = |wanted: fn(&Capabilities) -> bool| variant.recorded_for.iter().all(wanted);
    if needs(|c| c.subgroup.is_some()) {
        capabilities.extend([
            Capability::GroupNonUniform,
            Capability::GroupNonUniformVote,
            Capability::GroupNonUniformArithmetic,
            Capability::GroupNonUniformBallot,
            Capability::GroupNonUniformShuffle,
            Capability::GroupNonUniformShuffleRelative,
        ]);
    }
    if needs(|c| c.cooperative.is_some()) {
        capabilities.extend([
            Capability::Float16,
            Capability::StorageBuffer16BitAccess,
            Capability::CooperativeMatrixKHR,
            Capability::VulkanMemoryModel,
        ]);
    }
    let binding = |(at, _): (ResourceBinding, _)| {
        let info = spv::BindingInfo {
            descriptor_set: at.group,
            binding: at.binding,
            binding_array_size: None,
        };
        (at, info)
    };
    let options = spv::Options {
        lang_version,
        fake_missing_bindings: false,
        binding_map: bindings(module).map(binding).collect(),
        capabilities: Some(capabilities.into_iter().collect()),
        bounds_check_policies: policies(variant),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: !variant.kernel.unchecked,
        emit_int_div_checks: !variant.kernel.unchecked,
        ..spv::Options::default()
    };
    let entry = spv::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: variant.entry.clone(),
    };
    spv::write_vec(module, info, &options, Some(&entry)).map_err(|error| error.to_string())
}

/// Runs `spirv-val`, which must be installed.
fn validate(words: &[u32], environment: &str) -> Result<(), String> {
    let mut program = Command::new("spirv-val")
        .args(["--target-env", environment, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            format!("spirv-val: {error}. Install it, on Debian as the package spirv-tools")
        })?;
    let mut input = program.stdin.take().expect("the pipe was asked for");
    let written = input.write_all(bytemuck::cast_slice(words));
    drop(input);
    let output = program.wait_with_output();
    let output = output.map_err(|error| format!("spirv-val: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    match (output.status.success(), written) {
        (true, Ok(())) => Ok(()),
        (false, _) => Err(format!("spirv-val: {text}")),
        (true, Err(error)) => Err(format!("spirv-val: {error}")),
    }
}

fn hlsl(
    variant: &Variant,
    module: &Module,
    info: &ModuleInfo,
    shader_model: hlsl::ShaderModel,
) -> Result<(), String> {
    // registers count each kind of view on its own, as wgpu's root signatures do
    let mut next = [0; 3];
    let binding = |(at, space): (ResourceBinding, AddressSpace)| {
        let kind = match space {
            AddressSpace::Uniform => 0,
            AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE) => 1,
            _ => 2,
        };
        let target = hlsl::BindTarget {
            register: next[kind],
            restrict_indexing: true,
            ..hlsl::BindTarget::default()
        };
        next[kind] += 1;
        (at, target)
    };
    let options = hlsl::Options {
        shader_model,
        binding_map: bindings(module).map(binding).collect(),
        fake_missing_bindings: false,
        special_constants_binding: Some(hlsl::BindTarget {
            space: 255,
            ..hlsl::BindTarget::default()
        }),
        zero_initialize_workgroup_memory: false,
        restrict_indexing: !variant.kernel.unchecked,
        force_loop_bounding: !variant.kernel.unchecked,
        ..hlsl::Options::default()
    };
    let entry = hlsl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, variant.entry.clone())),
    };
    let mut text = String::new();
    let written = hlsl::Writer::new(&mut text, &options, &entry).write(module, info, None);
    let names = written
        .map_err(|error| error.to_string())?
        .entry_point_names;
    names.into_iter().try_for_each(|name| {
        name.map(|_| ())
            .map_err(|error| format!("entry point: {error}"))
    })
}

fn msl(
    variant: &Variant,
    module: &Module,
    info: &ModuleInfo,
    lang_version: (u8, u8),
) -> Result<(), String> {
    let mut slots = 0..;
    let binding = |(at, space): (ResourceBinding, AddressSpace)| {
        let mutable = matches!(space, AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE));
        let target = msl::BindTarget {
            buffer: slots.next(),
            mutable,
            ..msl::BindTarget::default()
        };
        (at, target)
    };
    let resources: msl::BindingMap = bindings(module).map(binding).collect();
    let resources = msl::EntryPointResources {
        sizes_buffer: Some(resources.len() as u8),
        resources,
        immediates_buffer: None,
    };
    let options = msl::Options {
        lang_version,
        per_entry_point_map: [(variant.entry.clone(), resources)].into(),
        fake_missing_bindings: false,
        bounds_check_policies: policies(variant),
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: !variant.kernel.unchecked,
        emit_int_div_checks: !variant.kernel.unchecked,
        ..msl::Options::default()
    };
    let entry = msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, variant.entry.clone())),
        ..msl::PipelineOptions::default()
    };
    let (_, written) =
        msl::write_string(module, info, &options, &entry).map_err(|error| error.to_string())?;
    written.entry_point_names.into_iter().try_for_each(|name| {
        name.map(|_| ())
            .map_err(|error| format!("entry point: {error}"))
    })
}

fn glsl(
    variant: &Variant,
    module: &Module,
    info: &ModuleInfo,
    version: glsl::Version,
) -> Result<(), String> {
    let binding = |(at, _): (ResourceBinding, _)| (at, at.binding as u8);
    let options = glsl::Options {
        version,
        binding_map: bindings(module).map(binding).collect(),
        zero_initialize_workgroup_memory: false,
        ..glsl::Options::default()
    };
    let entry = glsl::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: variant.entry.clone(),
        multiview: None,
    };
    let mut text = String::new();
    // wgpu leaves bounds to OpenGL
    let policies = BoundsCheckPolicies::default();
    glsl::Writer::new(&mut text, module, info, &options, &entry, policies)
        .and_then(|mut writer| writer.write())
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[test]
fn every_kernel_translates_for_every_system_that_uses_it() {
    let failures: BTreeSet<String> = variants()
        .par_iter()
        .flat_map_iter(|variant| {
            let (module, info) = variant.module();
            let targets = TARGETS
                .iter()
                .filter(|target| variant.recorded_for.iter().any(target.has));
            let failures = targets.filter_map(move |target| {
                let error = (target.translate)(variant, &module, &info).err()?;
                Some(format!("{}: {}: {error}", target.name, variant.place()))
            });
            failures.collect::<Vec<_>>()
        })
        .collect();
    let shown: Vec<_> = failures.iter().take(20).map(String::as_str).collect();
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        shown.join("\n")
    );
}

/// A target that no device has would check nothing.
#[test]
fn every_target_has_devices_and_every_device_targets() {
    for target in &TARGETS {
        assert!(DEVICES.iter().any(target.has), "{}", target.name);
    }
    for device in &DEVICES {
        assert!(
            TARGETS.iter().any(|target| (target.has)(device)),
            "{device:?}"
        );
    }
}

#[test]
fn kernels_that_a_system_does_not_take_are_found() {
    use crate::graph::Kernel;
    static KERNEL: Kernel = Kernel::new(
        "sample",
        "@group(0) @binding(0) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(32)
        fn main(@builtin(subgroup_invocation_id) lane: u32) { y[lane] = subgroupAdd(lane); }",
    );
    let variant = |capabilities| Variant {
        kernel: &KERNEL,
        entry: "main".into(),
        constants: vec![],
        recorded_for: vec![capabilities],
    };
    let errors = |variant: &Variant| -> Vec<&str> {
        let (module, info) = variant.module();
        let fails = |target: &&Target| (target.translate)(variant, &module, &info).is_err();
        TARGETS
            .iter()
            .filter(fails)
            .map(|target| target.name)
            .collect()
    };
    let without = errors(&variant(DEVICES[4]));
    assert!(without.contains(&"SPIR-V of Vulkan 1.1"), "{without:?}");
    let with = errors(&variant(DEVICES[5]));
    assert!(!with.contains(&"SPIR-V of Vulkan 1.1"), "{with:?}");
    // an instruction of no length
    assert!(
        validate(
            &[0x0723_0203, 0x0001_0300, 0, 1, 0, 0xffff_0000],
            "vulkan1.1"
        )
        .is_err()
    );
}
