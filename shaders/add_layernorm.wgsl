// add_layernorm: h = x + branch * mask, y = (h - mean) * rstd * weight + bias over the last axis:
// dropout, residual connection and LayerNorm. The mask is that of dropout.wgsl, 1 if p is 0; the
// rest is as in layernorm.wgsl. With z = (h - mean) * rstd and g = dy * weight:
//   dx = dh + rstd * (g - mean(g) - z * mean(g * z)),  dbranch = dx * mask
//
//   forward         x[rows, cols], branch[rows, cols], seed, weight[cols], bias[cols]
//                   -> h[rows, cols], y[rows, cols], stats[rows] of (mean, rstd)
//   backward        dy[rows, cols], dh[rows, cols], h, weight, stats
//                   -> dx[rows, cols], which is dbranch too if p is 0
//   backward_drop   dy, dh, h, weight, stats, seed -> dx[rows, cols], dbranch[rows, cols]
//
// A workgroup per row, its invocations stride over the columns. cols counts `lanes`
// (shared/wide.wgsl, shared/narrow.wgsl).

struct Params { rows: u32, cols: u32, eps: f32, site: u32, p: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;              // [rows, cols]
@group(0) @binding(2) var<storage, read> branch: array<lanes>;         // [rows, cols]
@group(0) @binding(3) var<uniform> seed: vec4u;                        // [1], in x
@group(0) @binding(4) var<storage, read> weight: array<lanes>;         // [cols]
@group(0) @binding(5) var<storage, read> bias: array<lanes>;           // [cols]
@group(0) @binding(6) var<storage, read_write> h: array<lanes>;        // [rows, cols]
@group(0) @binding(7) var<storage, read_write> y: array<lanes>;        // [rows, cols]
@group(0) @binding(8) var<storage, read_write> stats: array<vec2f>;    // [rows]
@group(0) @binding(9) var<storage, read> dy: array<lanes>;             // [rows, cols]
@group(0) @binding(10) var<storage, read> dh: array<lanes>;            // [rows, cols]
@group(0) @binding(11) var<storage, read> sum: array<lanes>;           // [rows, cols], h
@group(0) @binding(12) var<storage, read> saved: array<vec2f>;         // [rows], stats
@group(0) @binding(13) var<storage, read_write> dx: array<lanes>;      // [rows, cols]
@group(0) @binding(14) var<storage, read_write> dbranch: array<lanes>; // [rows, cols]

override WG: u32 = 64;

fn factor(index: u32) -> f32 {
    return keep(seed.x, params.site, index, params.p);
}

fn mask(i: u32) -> lanes {
    let first = LANES * i;
    return join(factor(first), factor(first + 1), factor(first + 2), factor(first + 3));
}

@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * groups.x;
    // a row past the last has no columns
    let first = row * params.cols + lane;
    let end = select(0, (row + 1) * params.cols, row < params.rows);
    let count = f32(params.cols * LANES);

    // the loops after the first read elements of `h` that the same invocation wrote
    var all = lanes();
    if params.p > 0.0 {
        for (var i = first; i < end; i += WG) {
            let value = x[i] + branch[i] * mask(i);
            h[i] = value;
            all += value;
        }
    } else {
        for (var i = first; i < end; i += WG) {
            let value = x[i] + branch[i];
            h[i] = value;
            all += value;
        }
    }
    let mean = reduce_sum(lane, total(all)) / count;
    var squares = lanes();
    for (var i = first; i < end; i += WG) {
        let centred = h[i] - mean;
        squares += centred * centred;
    }
    let rstd = inverseSqrt(reduce_sum(lane, total(squares)) / count + params.eps);
    for (var i = first; i < end; i += WG) {
        let col = i - row * params.cols;
        y[i] = (h[i] - mean) * rstd * weight[col] + bias[col];
    }
    if lane == 0 && row < params.rows {
        stats[row] = vec2f(mean, rstd);
    }
}

// Columns of an invocation, and means over its row: x of g, y of g * z.
struct Row { first: u32, end: u32, start: u32, stat: vec2f, means: vec2f }

fn row_of(group: vec3u, groups: vec3u, lane: u32) -> Row {
    let row = group.x + group.y * groups.x;
    let start = row * params.cols;
    let end = select(0, start + params.cols, row < params.rows);
    let stat = saved[min(row, params.rows - 1)];
    var sum_g = lanes();
    var sum_gz = lanes();
    for (var i = start + lane; i < end; i += WG) {
        let g = dy[i] * weight[i - start];
        sum_g += g;
        sum_gz += g * (sum[i] - stat.x) * stat.y;
    }
    let sums = vec2f(reduce_sum(lane, total(sum_g)), reduce_sum(lane, total(sum_gz)));
    return Row(start + lane, end, start, stat, sums / f32(params.cols * LANES));
}

fn gradient(row: Row, i: u32) -> lanes {
    let g = dy[i] * weight[i - row.start];
    return dh[i] + row.stat.y * (g - row.means.x - (sum[i] - row.stat.x) * row.stat.y * row.means.y);
}

@compute @workgroup_size(WG)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = row_of(group, groups, lane);
    for (var i = row.first; i < row.end; i += WG) {
        dx[i] = gradient(row, i);
    }
}

@compute @workgroup_size(WG)
fn backward_drop(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = row_of(group, groups, lane);
    for (var i = row.first; i < row.end; i += WG) {
        let value = gradient(row, i);
        dx[i] = value;
        dbranch[i] = value * mask(i);
    }
}
