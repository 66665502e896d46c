// sum_rows: y[s, c] = sum of x[r, c] over the rows r of chunk s
//
//   forward   x[rows, cols] -> y[chunks, cols]
//
// An invocation per column and chunk, grid-stride. Many rows take several dispatches: rows into
// chunks, then chunks. cols counts `lanes` (shared/wide.wgsl, shared/narrow.wgsl).

struct Params { rows: u32, cols: u32, chunk: u32, chunks: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;         // [rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<lanes>;   // [chunks, cols]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.chunks * params.cols; i += groups.x * WG) {
        let first = i / params.cols * params.chunk;
        let last = min(first + params.chunk, params.rows);
        var sum = lanes();
        for (var r = first; r < last; r++) {
            sum += x[r * params.cols + i % params.cols];
        }
        y[i] = sum;
    }
}
