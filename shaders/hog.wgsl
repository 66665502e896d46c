// hog: histograms of oriented gradients (Dalal & Triggs 2005), laid out patch by patch for the
// patch embedding
//   per pixel   (gx, gy) = central differences of the channel with the longest gradient, with the
//               border repeated outwards
//   per cell    bin k of 8 gets |g| * max(0, 1 - d), d the distance of k from 8 / pi * atan2(gy, gx)
//               around a circle of 8, averaged over 4x4 pixels: opposite directions share a bin.
//               Cells are 2 pixels apart and extend over the border by one pixel
//   result      y = 2 * min(1, cell / (sqrt(e) + 0.02)), e the mean over 3x3 cells of the sum of
//               their squared bins
// Pixels and cells outside the picture count as 0. The constant belongs to colours from 0 to 1.
//
//   orient   image[batch, channels, height, width] -> cells[batch, height / 2, width / 2, 8]
//   blocks   cells[batch, height / 2, width / 2, 8]
//            -> y[batch, patches, (patch / 2) * (patch / 2) * 8]
//
// An invocation per cell, grid-stride. It has no gradient.

struct Params { batch: u32, channels: u32, height: u32, width: u32, patch_cells: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<f32>;         // [batch, channels, height, width]
@group(0) @binding(2) var<storage, read_write> cells: array<vec4f>; // [batch, height / 2, width / 2, 8]
@group(0) @binding(3) var<storage, read> known: array<vec4f>;       // the same
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;     // [batch, patches, patch_cells, patch_cells, 8]

override WG: u32 = 64;

const BINS = 8.0;
const PI = 3.14159265358979;

// the share of each of four bins in an orientation; both from 0 to 8
fn near(bins: vec4f, orientation: f32) -> vec4f {
    let apart = abs(bins - orientation);
    return max(vec4f(), 1.0 - min(apart, BINS - apart));
}

@compute @workgroup_size(WG)
fn orient(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let down = params.height / 2;
    let across = params.width / 2;
    for (var i = gid.x; i < params.batch * down * across; i += groups.x * WG) {
        let b = i / (down * across);
        let top = 2 * i32(i / across % down) - 1;
        let left = 2 * i32(i % across) - 1;
        var low = vec4f();
        var high = vec4f();
        for (var row = max(top, 0); row < min(top + 4, i32(params.height)); row++) {
            let above = u32(max(row - 1, 0));
            let below = min(u32(row) + 1, params.height - 1);
            for (var col = max(left, 0); col < min(left + 4, i32(params.width)); col++) {
                let before = u32(max(col - 1, 0));
                let after = min(u32(col) + 1, params.width - 1);
                var longest = vec2f();
                for (var c = 0u; c < params.channels; c++) {
                    let plane = (b * params.channels + c) * params.height;
                    let here = (plane + u32(row)) * params.width;
                    let g = vec2f(
                        image[here + after] - image[here + before],
                        image[(plane + below) * params.width + u32(col)] - image[(plane + above) * params.width + u32(col)],
                    );
                    longest = select(longest, g, dot(g, g) > dot(longest, longest));
                }
                // atan2 is undefined at the origin, where the length is 0 whatever it gives
                let angle = atan2(longest.y, select(longest.x, 1.0, all(longest == vec2f())));
                let orientation = BINS / PI * select(angle, angle + PI, angle < 0.0);
                low += length(longest) * near(vec4f(0, 1, 2, 3), orientation);
                high += length(longest) * near(vec4f(4, 5, 6, 7), orientation);
            }
        }
        cells[2 * i] = low / 16.0;
        cells[2 * i + 1] = high / 16.0;
    }
}

@compute @workgroup_size(WG)
fn blocks(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let down = params.height / 2;
    let across = params.width / 2;
    for (var i = gid.x; i < params.batch * down * across; i += groups.x * WG) {
        let b = i / (down * across);
        let r = i / across % down;
        let s = i % across;
        var energy = 0.0;
        for (var row = max(r, 1) - 1; row < min(r + 2, down); row++) {
            for (var col = max(s, 1) - 1; col < min(s + 2, across); col++) {
                let at = 2 * ((b * down + row) * across + col);
                energy += dot(known[at], known[at]) + dot(known[at + 1], known[at + 1]);
            }
        }
        let scale = 1.0 / (sqrt(energy / 9.0) + 0.02);
        let side = params.patch_cells;
        let place = (b * (down / side) + r / side) * (across / side) + s / side;
        let first = 2 * ((place * side + r % side) * side + s % side);
        y[first] = 2.0 * min(vec4f(1.0), scale * known[2 * i]);
        y[first + 1] = 2.0 * min(vec4f(1.0), scale * known[2 * i + 1]);
    }
}
