// scale: y[i] = factor * x[i]
//
//   forward   x[n] -> y[n]
//
// Four elements an invocation, grid-stride.

struct Params { n: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;        // [n]
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;  // [n]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < (params.n + 3) / 4; i += groups.x * WG) {
        y[i] = params.factor * x[i];
    }
}
