// slice: y[b, i] = x[b, start + i];  dx[b, i] = dy[b, i - start] inside the slice, 0 outside
//
//   forward    x[batch, rows, cols] -> y[batch, length, cols]
//   backward   dy[batch, length, cols] -> dx[batch, rows, cols]
//
// An invocation per element, grid-stride. cols counts `lanes`.

struct Params { batch: u32, rows: u32, cols: u32, start: u32, length: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;         // [batch, rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<lanes>;   // [batch, length, cols]
@group(0) @binding(3) var<storage, read> dy: array<lanes>;        // [batch, length, cols]
@group(0) @binding(4) var<storage, read_write> dx: array<lanes>;  // [batch, rows, cols]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let size = params.length * params.cols;
    for (var i = gid.x; i < params.batch * size; i += groups.x * WG) {
        y[i] = x[(i / size * params.rows + params.start) * params.cols + i % size];
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let size = params.rows * params.cols;
    for (var i = gid.x; i < params.batch * size; i += groups.x * WG) {
        // before the slice this wraps to a large number
        let place = i % size - params.start * params.cols;
        var value = lanes();
        if place < params.length * params.cols {
            value = dy[i / size * params.length * params.cols + place];
        }
        dx[i] = value;
    }
}
