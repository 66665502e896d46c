// add_rmsnorm: h = x + branch, y = h * rstd * weight over the last axis, rstd = 1 / sqrt(mean(h^2)
// + eps): residual connection and RMSNorm. With z = h * rstd and g = dy * weight:
//   dx = dbranch = dh + rstd * (g - z * mean(g * z))
//
//   forward    x[rows, cols], branch[rows, cols], weight[cols]
//              -> h[rows, cols], y[rows, cols], stats[rows] of rstd
//   backward   dy[rows, cols], dh[rows, cols], h, weight, stats -> dx[rows, cols]
//
// A workgroup per row, its invocations stride over the columns. cols counts `lanes`
// (shared/wide.wgsl, shared/narrow.wgsl).

struct Params { rows: u32, cols: u32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;         // [rows, cols]
@group(0) @binding(2) var<storage, read> branch: array<lanes>;    // [rows, cols]
@group(0) @binding(3) var<storage, read> weight: array<lanes>;    // [cols]
@group(0) @binding(4) var<storage, read_write> h: array<lanes>;   // [rows, cols]
@group(0) @binding(5) var<storage, read_write> y: array<lanes>;   // [rows, cols]
@group(0) @binding(6) var<storage, read_write> stats: array<f32>; // [rows]
@group(0) @binding(7) var<storage, read> dy: array<lanes>;        // [rows, cols]
@group(0) @binding(8) var<storage, read> dh: array<lanes>;        // [rows, cols]
@group(0) @binding(9) var<storage, read> sum: array<lanes>;       // [rows, cols], h
@group(0) @binding(10) var<storage, read> saved: array<f32>;      // [rows], stats
@group(0) @binding(11) var<storage, read_write> dx: array<lanes>; // [rows, cols]

override WG: u32 = 64;

@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * groups.x;
    // a row past the last has no columns
    let first = row * params.cols + lane;
    let end = select(0, (row + 1) * params.cols, row < params.rows);
    let count = f32(params.cols * LANES);

    // the second loop reads elements of `h` that the same invocation wrote
    var squares = lanes();
    for (var i = first; i < end; i += WG) {
        let value = x[i] + branch[i];
        h[i] = value;
        squares += value * value;
    }
    let rstd = inverseSqrt(reduce_sum(lane, total(squares)) / count + params.eps);
    for (var i = first; i < end; i += WG) {
        y[i] = h[i] * rstd * weight[i - row * params.cols];
    }
    if lane == 0 && row < params.rows {
        stats[row] = rstd;
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * groups.x;
    let first = row * params.cols + lane;
    let end = select(0, (row + 1) * params.cols, row < params.rows);
    let count = f32(params.cols * LANES);
    let rstd = saved[min(row, params.rows - 1)];

    var products = lanes();
    for (var i = first; i < end; i += WG) {
        products += dy[i] * weight[i - row * params.cols] * sum[i] * rstd;
    }
    let mean = reduce_sum(lane, total(products)) / count;
    for (var i = first; i < end; i += WG) {
        let g = dy[i] * weight[i - row * params.cols];
        dx[i] = dh[i] + rstd * (g - sum[i] * rstd * mean);
    }
}
