// accumulate: acc[i] = grad[i] + (first == 0 ? acc[i] : 0), in place: gradients summed over
// micro-batches
//
//   forward   acc[n], grad[n], first[1] -> acc[n]
//
// Four elements an invocation, grid-stride.

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> acc: array<vec4f>;  // [n]
@group(0) @binding(2) var<storage, read> grad: array<vec4f>;       // [n]
@group(0) @binding(3) var<uniform> first: vec4u;                   // [1], in x

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < (params.n + 3) / 4; i += groups.x * WG) {
        // a selection, not a product, so that NaN of an abandoned step does not survive
        acc[i] = grad[i] + select(acc[i], vec4f(), first.x != 0);
    }
}
