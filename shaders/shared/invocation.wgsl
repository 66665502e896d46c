// Builtins of kernels in which an invocation is known by its index in the workgroup.

struct Invocation {
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
}
