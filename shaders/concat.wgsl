// concat: y[b] = rows of a[b], then rows of c[b]; a of batch 1 is repeated over the batch
//
//   forward   a[batch or 1, rows_a, cols], c[batch, rows_c, cols]
//             -> y[batch, rows_a + rows_c, cols]
//
// An invocation per element, grid-stride. cols counts `lanes`.

struct Params { batch: u32, batch_a: u32, rows_a: u32, rows_c: u32, cols: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<lanes>;        // [batch_a, rows_a, cols]
@group(0) @binding(2) var<storage, read> c: array<lanes>;        // [batch, rows_c, cols]
@group(0) @binding(3) var<storage, read_write> y: array<lanes>;  // [batch, rows_a + rows_c, cols]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let rows = params.rows_a + params.rows_c;
    for (var i = gid.x; i < params.batch * rows * params.cols; i += groups.x * WG) {
        let col = i % params.cols;
        let row = i / params.cols % rows;
        let b = i / params.cols / rows;
        if row < params.rows_a {
            y[i] = a[(b % params.batch_a * params.rows_a + row) * params.cols + col];
        } else {
            y[i] = c[(b * params.rows_c + row - params.rows_a) * params.cols + col];
        }
    }
}
