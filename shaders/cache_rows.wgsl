// cache_rows: cache[b, past[b] + i, j] = rows[b, i, stride - c + j], in place
//
//   forward   rows[b, t, stride] -> part of cache[b, capacity, c]; rows past the capacity are dropped
//
// An invocation per element, grid-stride. past_stride is 1 with a past for each batch element, 0
// with one for all.

struct Params { n: u32, t: u32, capacity: u32, c: u32, stride: u32, past_stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<f32>;          // [b, t, stride]
@group(0) @binding(2) var<storage, read> past: array<u32>;           // [b] or [1]
@group(0) @binding(3) var<storage, read_write> cache: array<f32>;   // [b, capacity, c]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.n; i += groups.x * WG) {
        let row = i / params.c;
        let at = past[row / params.t * params.past_stride] + row % params.t;
        if at < params.capacity {
            let value = rows[(row + 1) * params.stride - params.c + i % params.c];
            cache[(row / params.t * params.capacity + at) * params.c + i % params.c] = value;
        }
    }
}
