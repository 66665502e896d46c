// pad_heads: y[r, h, d] = x[r, h, d] if d < from_width, else 0
//
//   forward   x[rows, heads, from_width] -> y[rows, heads, to_width]; with the widths exchanged it
//             gives dx from dy
//
// An invocation per element, grid-stride.

struct Params { n: u32, from_width: u32, to_width: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;         // [n / to_width, from_width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;   // [n / to_width, to_width]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.n; i += groups.x * WG) {
        let d = i % params.to_width;
        y[i] = select(0.0, x[i / params.to_width * params.from_width + d], d < params.from_width);
    }
}
