// activation: y[i] = f(x[i]);  dx[i] = dy[i] * f'(x[i])
// f is chosen by ACTIVATION: 1 relu, 2 gelu (erf), 3 gelu (tanh), 4 quick gelu; see
// shared/activation.wgsl.
//
//   forward    x[n] -> y[n]
//   backward   dy[n], x[n] -> dx[n]
//
// Four elements an invocation, grid-stride.

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;         // [n]
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;   // [n]
@group(0) @binding(3) var<storage, read> dy: array<vec4f>;        // [n]
@group(0) @binding(4) var<storage, read_write> dx: array<vec4f>;  // [n]

override WG: u32 = 256;
override ACTIVATION: u32 = 0;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < (params.n + 3) / 4; i += groups.x * WG) {
        y[i] = activate(ACTIVATION, x[i]);
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < (params.n + 3) / 4; i += groups.x * WG) {
        dx[i] = dy[i] * activation_derivative(ACTIVATION, x[i]);
    }
}
