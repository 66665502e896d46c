// ink: how far the pixels of a normalised image are from white, per channel: 0 for white to 1 for
// black
//   y[b, c, i] = deviation[c] * (white[c] - x[b, c, i])
//
//   forward   x[batch, 3, pixels] -> y[batch, 3, pixels]
//
// An invocation per element, grid-stride. It has no gradient. pixels counts `lanes`.

struct Params { n: u32, pixels: u32, white_red: f32, white_green: f32, white_blue: f32, red: f32, green: f32, blue: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;        // [batch, 3, pixels]
@group(0) @binding(2) var<storage, read_write> y: array<lanes>;  // [batch, 3, pixels]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let white = vec3f(params.white_red, params.white_green, params.white_blue);
    let deviation = vec3f(params.red, params.green, params.blue);
    for (var i = gid.x; i < params.n; i += groups.x * WG) {
        let channel = i / params.pixels % 3;
        y[i] = deviation[channel] * (white[channel] - x[i]);
    }
}
