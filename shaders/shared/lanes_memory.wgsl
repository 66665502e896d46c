// The sum over the LANES invocations of a tile through workgroup memory, for adapters without
// subgroups of a fixed size.

// The builtins that the kernels take: here `local` is the place in the workgroup.
struct Invocation {
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
}

var<workgroup> parts: array<mat4x4f, WG>;

// Every invocation of a tile gets the same sum. Reached by the whole workgroup.
fn over_lanes(local: u32, m: mat4x4f) -> mat4x4f {
    if LANES == 1 {
        return m;
    }
    // the sum before this one has been read
    workgroupBarrier();
    parts[local] = m;
    workgroupBarrier();
    let first = local / LANES * LANES;
    var sum = parts[first];
    for (var l = 1u; l < LANES; l++) {
        sum += parts[first + l];
    }
    return sum;
}
