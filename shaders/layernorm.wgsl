// layernorm: y = (x - mean) * rstd * weight + bias over the last axis; rstd = 1 / sqrt(variance +
// eps), the variance biased and summed around the mean in a second pass, since E[x^2] - E[x]^2
// cancels. With z = (x - mean) * rstd and g = dy * weight:
//   dx = rstd * (g - mean(g) - z * mean(g * z))
//   dweight = sum over rows of dy * z,  dbias = sum over rows of dy
//
//   forward            x[rows, cols], weight[cols], bias[cols]
//                      -> y[rows, cols], stats[rows] of (mean, rstd)
//   backward           dy[rows, cols], x, weight, stats -> dx[rows, cols]
//   backward_weights   dy[rows, cols], x, stats -> dweight[chunks, cols], dbias[chunks, cols],
//                      sums over the rows of a chunk
//
// forward, backward: a workgroup per row, its invocations stride over the columns.
// backward_weights: an invocation per column and chunk, grid-stride. cols counts `lanes`
// (shared/wide.wgsl, shared/narrow.wgsl).

struct Params { rows: u32, cols: u32, eps: f32, chunk: u32, chunks: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;              // [rows, cols]
@group(0) @binding(2) var<storage, read> weight: array<lanes>;         // [cols]
@group(0) @binding(3) var<storage, read> bias: array<lanes>;           // [cols]
@group(0) @binding(4) var<storage, read_write> y: array<lanes>;        // [rows, cols]
@group(0) @binding(5) var<storage, read_write> stats: array<vec2f>;    // [rows]
@group(0) @binding(6) var<storage, read> dy: array<lanes>;             // [rows, cols]
@group(0) @binding(7) var<storage, read> saved: array<vec2f>;          // [rows]
@group(0) @binding(8) var<storage, read_write> dx: array<lanes>;       // [rows, cols]
@group(0) @binding(9) var<storage, read_write> dweight: array<lanes>;  // [chunks, cols]
@group(0) @binding(10) var<storage, read_write> dbias: array<lanes>;   // [chunks, cols]

override WG: u32 = 64;

@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * groups.x;
    // a row past the last has no columns
    let first = row * params.cols + lane;
    let end = select(0, (row + 1) * params.cols, row < params.rows);
    let count = f32(params.cols * LANES);

    var sum = lanes();
    for (var i = first; i < end; i += WG) {
        sum += x[i];
    }
    let mean = reduce_sum(lane, total(sum)) / count;
    var squares = lanes();
    for (var i = first; i < end; i += WG) {
        let centred = x[i] - mean;
        squares += centred * centred;
    }
    let rstd = inverseSqrt(reduce_sum(lane, total(squares)) / count + params.eps);
    for (var i = first; i < end; i += WG) {
        let col = i - row * params.cols;
        y[i] = (x[i] - mean) * rstd * weight[col] + bias[col];
    }
    if lane == 0 && row < params.rows {
        stats[row] = vec2f(mean, rstd);
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * groups.x;
    let first = row * params.cols + lane;
    let end = select(0, (row + 1) * params.cols, row < params.rows);
    let count = f32(params.cols * LANES);
    let stat = saved[min(row, params.rows - 1)];

    var sum_g = lanes();
    var sum_gz = lanes();
    for (var i = first; i < end; i += WG) {
        let g = dy[i] * weight[i - row * params.cols];
        sum_g += g;
        sum_gz += g * (x[i] - stat.x) * stat.y;
    }
    let mean_g = reduce_sum(lane, total(sum_g)) / count;
    let mean_gz = reduce_sum(lane, total(sum_gz)) / count;
    for (var i = first; i < end; i += WG) {
        let g = dy[i] * weight[i - row * params.cols];
        dx[i] = stat.y * (g - mean_g - (x[i] - stat.x) * stat.y * mean_gz);
    }
}

@compute @workgroup_size(WG)
fn backward_weights(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.chunks * params.cols; i += groups.x * WG) {
        let first = i / params.cols * params.chunk;
        let last = min(first + params.chunk, params.rows);
        var sum = lanes();
        var products = lanes();
        for (var row = first; row < last; row++) {
            let at = row * params.cols + i % params.cols;
            let stat = saved[row];
            sum += dy[at];
            products += dy[at] * (x[at] - stat.x) * stat.y;
        }
        dbias[i] = sum;
        dweight[i] = products;
    }
}
