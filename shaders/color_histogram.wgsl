// color_histogram: histogram of an image's colours (Swain & Ballard 1991)
//   share[i, j, k] = mean over pixels of hat(i, red) * hat(j, green) * hat(k, blue)
//                    for i, j, k in 0 .. levels - 1
//   hat(n, x)      = max(0, 1 - |n - (levels - 1) (x - low) scale|), x clamped to low .. low + 1 / scale
//   y              = 4 sqrt(share)
// Shares sum to 1. The root keeps large plain areas from hiding small ones (Hellinger distance).
//
//   forward   image[batch, 3, pixels] -> y[batch, levels, levels, levels]
//
// An invocation per four bins with consecutive blues, grid-stride. It has no gradient.

struct Params { quads: u32, levels: u32, pixels: u32, low: f32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<f32>;      // [batch, 3, pixels]
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;  // [batch, levels, levels, levels]

override WG: u32 = 64;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let levels = params.levels;
    let last = f32(levels - 1);
    for (var i = gid.x; i < params.quads; i += groups.x * WG) {
        let bin = 4 * i;
        let blues = f32(bin % levels) + vec4f(0, 1, 2, 3);
        let green = f32(bin / levels % levels);
        let red = f32(bin / (levels * levels) % levels);
        let first = bin / (levels * levels * levels) * 3 * params.pixels;
        var sum = vec4f();
        for (var at = first; at < first + params.pixels; at++) {
            let color = vec3f(image[at], image[at + params.pixels], image[at + 2 * params.pixels]);
            let pixel = last * saturate((color - params.low) * params.scale);
            let near = max(0.0, 1.0 - abs(pixel.r - red)) * max(0.0, 1.0 - abs(pixel.g - green));
            sum += near * max(vec4f(), 1.0 - abs(pixel.b - blues));
        }
        y[i] = 4.0 * sqrt(sum / f32(params.pixels));
    }
}
