// pixel_shuffle: rows of an image of side * side rows, in squares of factor * factor that become one
// row each: y[b, (r, q), (dr, dc, c)] = x[b, (factor r + dr, factor q + dc), c]. The columns (dc, c)
// are a line of both, so two axes change places:
//   y[n, q, dr] = x[n, dr, q]
// n counts batch elements and r. With down and across exchanged it gives dx from dy.
//
//   forward   x[n, down, across, cols] -> y[n, across, down, cols]; down = factor, across = side /
//             factor, cols = factor * c
//
// An invocation per element, grid-stride. cols counts `lanes`.

struct Params { n: u32, down: u32, across: u32, cols: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;        // [n, down, across, cols]
@group(0) @binding(2) var<storage, read_write> y: array<lanes>;  // [n, across, down, cols]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.n * params.down * params.across * params.cols; i += groups.x * WG) {
        let col = i % params.cols;
        let dr = i / params.cols % params.down;
        let q = i / params.cols / params.down % params.across;
        let block = i / params.cols / params.down / params.across;
        y[i] = x[((block * params.down + dr) * params.across + q) * params.cols + col];
    }
}
