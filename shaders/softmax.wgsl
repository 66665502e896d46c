// softmax: y = exp(x - max(x)) / sum of exp(x - max(x)) over the last axis;  dx = y * (dy - sum of
// dy * y)
//
//   forward    x[rows, cols] -> y[rows, cols]
//   backward   dy[rows, cols], saved y[rows, cols] -> dx[rows, cols]
//
// A workgroup per row, its invocations stride over the columns. cols counts `lanes`.

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;         // [rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<lanes>;   // [rows, cols]
@group(0) @binding(3) var<storage, read> saved: array<lanes>;     // [rows, cols]
@group(0) @binding(4) var<storage, read> dy: array<lanes>;        // [rows, cols]
@group(0) @binding(5) var<storage, read_write> dx: array<lanes>;  // [rows, cols]

override WG: u32 = 64;

@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * groups.x;
    // a row past the last has no columns
    let first = row * params.cols + lane;
    let end = select(0, (row + 1) * params.cols, row < params.rows);

    var most = lanes(-3.4028234e38);
    for (var i = first; i < end; i += WG) {
        most = max(most, x[i]);
    }
    let peak = reduce_max(lane, largest(most));
    var sum = lanes();
    for (var i = first; i < end; i += WG) {
        sum += exp(x[i] - peak);
    }
    let exponentials = reduce_sum(lane, total(sum));
    for (var i = first; i < end; i += WG) {
        y[i] = exp(x[i] - peak) / exponentials;
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * groups.x;
    let first = row * params.cols + lane;
    let end = select(0, (row + 1) * params.cols, row < params.rows);

    var sum = lanes();
    for (var i = first; i < end; i += WG) {
        sum += dy[i] * saved[i];
    }
    let product = reduce_sum(lane, total(sum));
    for (var i = first; i < end; i += WG) {
        dx[i] = saved[i] * (dy[i] - product);
    }
}
