// cross_entropy: losses[r] = scale * (log(sum over c of exp(x[r, c])) - sum over c of q[r, c] *
// x[r, c]) for the target distribution q[r, c] = (1 - smoothing) * (c == targets[r]) + smoothing /
// cols; 0 if the target is IGNORE
//   dx[r, c] = scale * dloss * (softmax(x[r])[c] - q[r, c]), 0 if the target is IGNORE
// A row's largest logit is subtracted before exp, and kept apart from the logarithm, which would
// lose digits next to it. Targets past the last column count as the last.
//
//   forward    x[rows, cols], targets[rows], scale
//              -> losses[rows], stats[rows] of (largest logit, sum of exponentials)
//   backward   x[rows, cols], targets[rows], scale, stats, dloss[1] -> dx[rows, cols]
//
// forward: a workgroup per row. backward: an invocation per element, grid-stride. cols counts
// `lanes`.

struct Params { rows: u32, cols: u32, smoothing: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;            // [rows, cols]
@group(0) @binding(2) var<storage, read> targets: array<u32>;        // [rows]
@group(0) @binding(3) var<uniform> scale: vec4f;                     // [1], in x
@group(0) @binding(4) var<storage, read_write> losses: array<f32>;   // [rows]
@group(0) @binding(5) var<storage, read_write> stats: array<vec2f>;  // [rows]
@group(0) @binding(6) var<storage, read> saved: array<vec2f>;        // [rows]
@group(0) @binding(7) var<storage, read> dloss: array<f32>;          // [1]
@group(0) @binding(8) var<storage, read_write> dx: array<lanes>;     // [rows, cols]

override WG: u32 = 64;

const IGNORE = 0xffffffffu;

@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * groups.x;
    // a row past the last has no columns
    let first = row * params.cols;
    let end = select(0, first + params.cols, row < params.rows);

    var most = lanes(-3.4028234e38);
    for (var i = first + lane; i < end; i += WG) {
        most = max(most, x[i]);
    }
    let peak = reduce_max(lane, largest(most));
    var sum = lanes();
    var below = lanes();
    for (var i = first + lane; i < end; i += WG) {
        sum += exp(x[i] - peak);
        below += x[i] - peak;
    }
    let exponentials = reduce_sum(lane, total(sum));
    let mean = reduce_sum(lane, total(below)) / f32(params.cols * LANES);
    if lane == 0 && row < params.rows {
        var loss = 0.0;
        if targets[row] != IGNORE {
            let column = min(targets[row], params.cols * LANES - 1);
            let logit = pick(x[first + column / LANES], column % LANES) - peak;
            loss = scale.x * (log(exponentials) - mix(logit, mean, params.smoothing));
        }
        losses[row] = loss;
        stats[row] = vec2f(peak, exponentials);
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.rows * params.cols; i += groups.x * WG) {
        let row = i / params.cols;
        let target_column = targets[row];
        var value = lanes();
        if target_column != IGNORE {
            let stat = saved[row];
            let column = min(target_column, params.cols * LANES - 1);
            // ANCHOR: gradient
            let wanted = mix(onehot(i % params.cols, column), lanes(1.0 / f32(params.cols * LANES)), lanes(params.smoothing));
            value = scale.x * dloss[0] * (exp(x[i] - stat.x) / stat.y - wanted);
            // ANCHOR_END: gradient
        }
        dx[i] = value;
    }
}
