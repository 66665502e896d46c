// l2_normalize: y = length * x / |x| over the last axis, |x| = sqrt(sum of x * x + 1e-12)
// With u = x / |x|:
//   dx = length / |x| * (dy - u * sum(u * dy))
//
//   forward    x[rows, cols] -> y[rows, cols], inverse[rows] of 1 / |x|
//   backward   dy[rows, cols], x, inverse -> dx[rows, cols]
//
// A workgroup per row, its invocations stride over the columns. cols counts `lanes`.

struct Params { rows: u32, cols: u32, length: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;           // [rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<lanes>;     // [rows, cols]
@group(0) @binding(3) var<storage, read_write> inverse: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read> dy: array<lanes>;          // [rows, cols]
@group(0) @binding(5) var<storage, read> saved: array<f32>;         // [rows]
@group(0) @binding(6) var<storage, read_write> dx: array<lanes>;    // [rows, cols]

override WG: u32 = 64;

@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * groups.x;
    // a row past the last has no columns
    let first = row * params.cols + lane;
    let end = select(0, (row + 1) * params.cols, row < params.rows);
    var squares = lanes();
    for (var i = first; i < end; i += WG) {
        squares += x[i] * x[i];
    }
    let scale = inverseSqrt(reduce_sum(lane, total(squares)) + 1e-12);
    for (var i = first; i < end; i += WG) {
        y[i] = params.length * scale * x[i];
    }
    if lane == 0 && row < params.rows {
        inverse[row] = scale;
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * groups.x;
    let first = row * params.cols + lane;
    let end = select(0, (row + 1) * params.cols, row < params.rows);
    let scale = saved[min(row, params.rows - 1)];
    var products = lanes();
    for (var i = first; i < end; i += WG) {
        products += x[i] * dy[i];
    }
    let along = reduce_sum(lane, total(products)) * scale * scale;
    for (var i = first; i < end; i += WG) {
        dx[i] = params.length * scale * (dy[i] - along * x[i]);
    }
}
