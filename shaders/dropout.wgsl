// dropout: y[i] = x[i] * (0 with probability p, else 1 / (1 - p))
//
//   forward   x[n] -> y[n]; on dy it gives dx, since the mask depends only on seed, site and i
//
// Four elements an invocation, grid-stride.

struct Params { n: u32, site: u32, p: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;        // [n]
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;  // [n]
@group(0) @binding(3) var<uniform> seed: vec4u;                  // [1], in x

override WG: u32 = 256;

fn factor(index: u32) -> f32 {
    return keep(seed.x, params.site, index, params.p);
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < (params.n + 3) / 4; i += groups.x * WG) {
        y[i] = x[i] * vec4f(factor(4 * i), factor(4 * i + 1), factor(4 * i + 2), factor(4 * i + 3));
    }
}
