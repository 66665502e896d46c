// positions: y[b, i] = x[b, i] + table[start[b] + i]; past the end of the table its last row is
// added
//   dtable[r] = sum over b of dy[b, r - start[b]], 0 for rows that were not read
//
//   forward    x[batch, length, cols], table[rows, cols], start -> y[batch, length, cols]
//   backward   dy[batch, length, cols], start -> dtable[rows, cols]
//
// An invocation per element, grid-stride. cols counts `lanes`. start_stride is 1 with a start for
// each batch element, 0 with one for all.

struct Params { batch: u32, length: u32, rows: u32, cols: u32, start_stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;             // [batch, length, cols]
@group(0) @binding(2) var<storage, read> table: array<lanes>;         // [rows, cols]
@group(0) @binding(3) var<storage, read> start: array<u32>;           // [batch] or [1]
@group(0) @binding(4) var<storage, read_write> y: array<lanes>;       // [batch, length, cols]
@group(0) @binding(5) var<storage, read> dy: array<lanes>;            // [batch, length, cols]
@group(0) @binding(6) var<storage, read_write> dtable: array<lanes>;  // [rows, cols]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.batch * params.length * params.cols; i += groups.x * WG) {
        let element = i / params.cols / params.length;
        let first = start[element * params.start_stride];
        let row = min(first + i / params.cols % params.length, params.rows - 1);
        y[i] = x[i] + table[row * params.cols + i % params.cols];
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.rows * params.cols; i += groups.x * WG) {
        var sum = lanes();
        for (var b = 0u; b < params.batch; b++) {
            // below start this wraps around to a large number
            let place = i / params.cols - start[b * params.start_stride];
            if place < params.length {
                sum += dy[(b * params.length + place) * params.cols + i % params.cols];
            }
        }
        dtable[i] = sum;
    }
}
