// add: c[i] = a[i] + b[i mod period]. A period shorter than n repeats b over the leading axes of a.
//
//   forward   a[n], b[period] -> c[n]; period = n or a multiple of 4
//   repeat    a[n], b_scalar[period] -> c[n]; any period
//
// Four elements an invocation, grid-stride.

struct Params { n: u32, period: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;        // [n]
@group(0) @binding(2) var<storage, read> b: array<vec4f>;        // [period]
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;  // [n]
@group(0) @binding(4) var<storage, read> b_scalar: array<f32>;   // [period]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < (params.n + 3) / 4; i += groups.x * WG) {
        c[i] = a[i] + b[i % ((params.period + 3) / 4)];
    }
}

@compute @workgroup_size(WG)
fn repeat(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < (params.n + 3) / 4; i += groups.x * WG) {
        let j = vec4u(4 * i) + vec4u(0, 1, 2, 3);
        let k = j % vec4u(params.period);
        c[i] = a[i] + vec4f(b_scalar[k.x], b_scalar[k.y], b_scalar[k.z], b_scalar[k.w]);
    }
}
