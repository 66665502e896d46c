// rmsnorm: y = x * rstd * weight over the last axis; rstd = 1 / sqrt(mean(x^2) + eps).
// With z = x * rstd and g = dy * weight:
//   dx = rstd * (g - z * mean(g * z)),  dweight = sum over rows of dy * z
//
//   forward            x[rows, cols], weight[cols] -> y[rows, cols], stats[rows] of rstd
//   backward           dy[rows, cols], x, weight, stats -> dx[rows, cols]
//   backward_weight    dy[rows, cols], x, stats -> dweight[chunks, cols], sums over the rows of a
//                      chunk
//
// forward, backward: a workgroup per row, its invocations stride over the columns.
// backward_weight: an invocation per column and chunk, grid-stride. cols counts `lanes`
// (shared/wide.wgsl, shared/narrow.wgsl).

struct Params { rows: u32, cols: u32, eps: f32, chunk: u32, chunks: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;              // [rows, cols]
@group(0) @binding(2) var<storage, read> weight: array<lanes>;         // [cols]
@group(0) @binding(3) var<storage, read_write> y: array<lanes>;        // [rows, cols]
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;      // [rows]
@group(0) @binding(5) var<storage, read> dy: array<lanes>;             // [rows, cols]
@group(0) @binding(6) var<storage, read> saved: array<f32>;            // [rows]
@group(0) @binding(7) var<storage, read_write> dx: array<lanes>;       // [rows, cols]
@group(0) @binding(8) var<storage, read_write> dweight: array<lanes>;  // [chunks, cols]

override WG: u32 = 64;

@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * groups.x;
    // a row past the last has no columns
    let first = row * params.cols + lane;
    let end = select(0, (row + 1) * params.cols, row < params.rows);
    let count = f32(params.cols * LANES);

    var squares = lanes();
    for (var i = first; i < end; i += WG) {
        squares += x[i] * x[i];
    }
    let rstd = inverseSqrt(reduce_sum(lane, total(squares)) / count + params.eps);
    for (var i = first; i < end; i += WG) {
        y[i] = x[i] * rstd * weight[i - row * params.cols];
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

    var sum = lanes();
    for (var i = first; i < end; i += WG) {
        sum += dy[i] * weight[i - row * params.cols] * x[i] * rstd;
    }
    let mean = reduce_sum(lane, total(sum)) / count;
    for (var i = first; i < end; i += WG) {
        dx[i] = rstd * (dy[i] * weight[i - row * params.cols] - x[i] * rstd * mean);
    }
}

@compute @workgroup_size(WG)
fn backward_weight(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.chunks * params.cols; i += groups.x * WG) {
        let first = i / params.cols * params.chunk;
        let last = min(first + params.chunk, params.rows);
        var sum = lanes();
        for (var row = first; row < last; row++) {
            let at = row * params.cols + i % params.cols;
            sum += dy[at] * x[at] * saved[row];
        }
        dweight[i] = sum;
    }
}
