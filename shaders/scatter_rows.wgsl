// scatter_rows: y = x, whose row at[j] is replaced by rows[j]; an `at` past the last row drops its row.
//   dx = dy, 0 in the rows at[j];  drows[j] = dy[at[j]], 0 for a dropped row
//
//   copy      x[count, cols] -> y[count, cols]
//   forward   rows[m, cols], at[m] -> part of y, after copy
//   clear     at[m] -> part of y, after copy: zeros in the rows at[j]
//   gather    dy[count, cols], at[m] -> drows[m, cols]
//
// An invocation per element, grid-stride. No two at[j] are equal, so no two invocations write the
// same element. cols counts `lanes`.

struct Params { count: u32, cols: u32, m: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;            // [count, cols]
@group(0) @binding(2) var<storage, read_write> y: array<lanes>;      // [count, cols]
@group(0) @binding(3) var<storage, read> rows: array<lanes>;         // [m, cols]
@group(0) @binding(4) var<storage, read> at: array<u32>;             // [m]
@group(0) @binding(5) var<storage, read> dy: array<lanes>;           // [count, cols]
@group(0) @binding(6) var<storage, read_write> drows: array<lanes>;  // [m, cols]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn copy(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.count * params.cols; i += groups.x * WG) {
        y[i] = x[i];
    }
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.m * params.cols; i += groups.x * WG) {
        let row = at[i / params.cols];
        if row < params.count {
            y[row * params.cols + i % params.cols] = rows[i];
        }
    }
}

@compute @workgroup_size(WG)
fn clear(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.m * params.cols; i += groups.x * WG) {
        let row = at[i / params.cols];
        if row < params.count {
            y[row * params.cols + i % params.cols] = lanes();
        }
    }
}

@compute @workgroup_size(WG)
fn gather(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.m * params.cols; i += groups.x * WG) {
        let row = at[i / params.cols];
        var value = lanes();
        if row < params.count {
            value = dy[row * params.cols + i % params.cols];
        }
        drows[i] = value;
    }
}
