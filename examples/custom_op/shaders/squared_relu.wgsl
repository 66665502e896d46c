// squared_relu: y[i] = relu(x[i])^2;  dx[i] = dy[i] * 2 relu(x[i])
//
//   forward    x[n] -> y[n]
//   backward   x[n], dy[n] -> dx[n]
//
// Four elements an invocation, grid-stride. relu is activation 1 of seemore's
// shared/activation.wgsl.

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;         // [n]
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;   // [n]
@group(0) @binding(3) var<storage, read> dy: array<vec4f>;        // [n]
@group(0) @binding(4) var<storage, read_write> dx: array<vec4f>;  // [n]

override WG: u32 = 256;

const RELU = 1u;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < (params.n + 3) / 4; i += groups.x * WG) {
        let positive = activate(RELU, x[i]);
        y[i] = positive * positive;
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < (params.n + 3) / 4; i += groups.x * WG) {
        dx[i] = 2.0 * dy[i] * activate(RELU, x[i]);
    }
}
