// rope: rotary position embedding of the first heads of each row. Columns i and j = i + half of a
// head are a pair, half = d / 2, and (c, s) = table[min(past[b] + row, positions - 1), i]:
//   y[i] = x[i] * c - x[j] * s,  y[j] = x[j] * c + x[i] * s
// Columns past the last rotated head are copied. With sign = -1 the angle is negated, which gives dx
// from dy.
//
//   forward   x[batch, length, cols], table[positions, half] of (cos, sin), past
//             -> y[batch, length, cols]
//
// An invocation per pair and per copied element, grid-stride. cols and half count `lanes`.
// past_stride is 1 with a past for each batch element, 0 with one for all.

struct Params {
    rows: u32,         // batch * length
    length: u32,
    cols: u32,
    heads: u32,        // that are rotated
    half: u32,
    positions: u32,
    past_stride: u32,
    sign: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;        // [rows, cols]
@group(0) @binding(2) var<storage, read> table: array<vec2f>;    // [positions, half * LANES]
@group(0) @binding(3) var<storage, read> past: array<u32>;       // [batch] or [1]
@group(0) @binding(4) var<storage, read_write> y: array<lanes>;  // [rows, cols]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let pairs = params.heads * params.half;
    // work items of a row
    let items = params.cols - pairs;
    for (var n = gid.x; n < params.rows * items; n += groups.x * WG) {
        let row = n / items;
        let item = n % items;
        if item < pairs {
            let pair = item % params.half;
            let i = row * params.cols + item / params.half * 2 * params.half + pair;
            let j = i + params.half;
            let first = past[row / params.length * params.past_stride];
            let position = min(first + row % params.length, params.positions - 1);
            let at = (position * params.half + pair) * LANES;
            let a = table[at];
            let b = table[at + 1];
            let c = table[at + 2];
            let d = table[at + 3];
            let cosine = join(a.x, b.x, c.x, d.x);
            let sine = params.sign * join(a.y, b.y, c.y, d.y);
            // ANCHOR: rotate
            y[i] = x[i] * cosine - x[j] * sine;
            y[j] = x[j] * cosine + x[i] * sine;
            // ANCHOR_END: rotate
        } else {
            let i = row * params.cols + pairs + item;
            y[i] = x[i];
        }
    }
}
