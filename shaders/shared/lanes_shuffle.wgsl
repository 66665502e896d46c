// The sum over the LANES invocations of a tile, at most 16, by shuffles: for workgroups that are
// one subgroup.

// The builtins that the kernels take. Shuffles count invocations by their place in the subgroup,
// and WGSL does not say that this is the place in the workgroup, so the place in the subgroup is
// the one that the kernels go by.
struct Invocation {
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(subgroup_invocation_id) local: u32,
}

fn swapped(m: mat4x4f, mask: u32) -> mat4x4f {
    return mat4x4f(
        subgroupShuffleXor(m[0], mask),
        subgroupShuffleXor(m[1], mask),
        subgroupShuffleXor(m[2], mask),
        subgroupShuffleXor(m[3], mask),
    );
}

// Every invocation of a tile gets the same sum: a + b and b + a are. Reached by the whole
// workgroup.
fn over_lanes(local: u32, m: mat4x4f) -> mat4x4f {
    var sum = m;
    if LANES > 1 { sum += swapped(sum, 1); }
    if LANES > 2 { sum += swapped(sum, 2); }
    if LANES > 4 { sum += swapped(sum, 4); }
    if LANES > 8 { sum += swapped(sum, 8); }
    return sum;
}
