// add_vector: y[b, i] = x[b, i] + v[b], one vector for all rows of a batch element
//   dv[b] = sum over i of dy[b, i]
//
//   forward    x[batch, length, cols], v[batch, cols] -> y[batch, length, cols]
//   backward   dy[batch, length, cols] -> dv[batch, cols]
//
// An invocation per element of the result, grid-stride. cols counts `lanes`.

struct Params { batch: u32, length: u32, cols: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;         // [batch, length, cols]
@group(0) @binding(2) var<storage, read> v: array<lanes>;         // [batch, cols]
@group(0) @binding(3) var<storage, read_write> y: array<lanes>;   // [batch, length, cols]
@group(0) @binding(4) var<storage, read> dy: array<lanes>;        // [batch, length, cols]
@group(0) @binding(5) var<storage, read_write> dv: array<lanes>;  // [batch, cols]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.batch * params.length * params.cols; i += groups.x * WG) {
        y[i] = x[i] + v[i / (params.length * params.cols) * params.cols + i % params.cols];
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.batch * params.cols; i += groups.x * WG) {
        let first = i / params.cols * params.length;
        var sum = lanes();
        for (var row = first; row < first + params.length; row++) {
            sum += dy[row * params.cols + i % params.cols];
        }
        dv[i] = sum;
    }
}
