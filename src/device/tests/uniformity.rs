//! Control flow and limits of every kernel variant.

use std::collections::BTreeSet;

use naga::AddressSpace;

use super::variants::variants;
use crate::graph::kernel::uniformity::violations;

#[test]
fn every_barrier_is_reached_by_whole_workgroups() {
    let mut found = BTreeSet::new();
    let mut barriers = BTreeSet::new();
    for variant in variants() {
        let (module, _) = variant.module();
        let places = violations(&module, &variant.entry);
        found.extend(places.into_iter().map(|place| (variant.place(), place)));
        if variant.kernel.source.contains("workgroupBarrier()") {
            barriers.insert(variant.kernel.name);
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    // the check has something to check
    for name in ["matmul_tiled", "matmul_cooperative", "attention", "softmax"] {
        assert!(barriers.contains(name), "{name} has no barrier");
    }
}

/// The limits that WebGPU promises on every device: beyond them a pipeline is refused on some.
#[test]
fn every_kernel_keeps_to_the_default_limits_of_webgpu() {
    let mut largest = [0; 2];
    for variant in variants() {
        let (module, info) = variant.module();
        let (point, used) = (&module.entry_points[0], info.get_entry_point(0));
        let place = variant.place();
        let mut counts = [0; 2];
        let mut memory = 0;
        for (handle, variable) in module.global_variables.iter() {
            if used[handle].is_empty() {
                continue;
            }
            match variable.space {
                AddressSpace::Storage { .. } => counts[0] += 1,
                AddressSpace::Uniform => counts[1] += 1,
                AddressSpace::WorkGroup => {
                    let size = module.types[variable.ty].inner.size(module.to_ctx());
                    memory += size.next_multiple_of(16);
                }
                _ => {}
            }
        }
        assert!(
            counts[0] <= 8,
            "{place} binds {} storage buffers",
            counts[0]
        );
        assert!(
            counts[1] <= 12,
            "{place} binds {} uniform buffers",
            counts[1]
        );
        // cooperative matrices are offered only where a workgroup has 32 KiB
        let cooperative = variant.kernel.name == "matmul_cooperative";
        let limit = if cooperative { 32 << 10 } else { 16 << 10 };
        assert!(
            memory <= limit,
            "{place} takes {memory} bytes of workgroup memory"
        );
        let [x, y, z] = point.workgroup_size;
        assert!(
            x * y * z <= 256 && z <= 64,
            "{place}: a workgroup of {x} x {y} x {z}"
        );
        largest = [largest[0].max(counts[0]), largest[1].max(memory)];
    }
    // the counting works: attention's backward pass binds eight, tiles of products fill 8 KiB
    assert!(largest[0] >= 7 && largest[1] >= 8 << 10, "{largest:?}");
}
