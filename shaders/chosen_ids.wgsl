// chosen_ids: y[i, c] = 256 * table[rows[i], c, 0] + table[rows[i], c, 1] as u32; rows past the last
// select the last
//
//   forward   table[count, cols, 2], rows[n] -> y[n, cols]
//
// An invocation per element. Grid-stride.

struct Params { n: u32, count: u32, cols: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<vec2f>;   // [count, cols, 2]
@group(0) @binding(2) var<storage, read> rows: array<u32>;      // [n]
@group(0) @binding(3) var<storage, read_write> y: array<u32>;   // [n, cols]

override WG: u32 = 64;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.n * params.cols; i += groups.x * WG) {
        let row = min(rows[i / params.cols], params.count - 1);
        let digits = table[row * params.cols + i % params.cols];
        y[i] = 256 * u32(digits.x) + u32(digits.y);
    }
}
