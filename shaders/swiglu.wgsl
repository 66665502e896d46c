// swiglu: y = silu(gate) * up, rows of x being gate | up; silu(g) = g * s(g), s(g) = 1 / (1 +
// exp(-g))
//   dgate = dy * up * s * (1 + gate * (1 - s)),  dup = dy * silu(gate)
//
//   forward    x[rows, 2 cols] -> y[rows, cols]
//   backward   dy[rows, cols], x -> dx[rows, 2 cols]
//
// An invocation per element of y, grid-stride. cols counts `lanes`.

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;         // [rows, 2 cols]
@group(0) @binding(2) var<storage, read_write> y: array<lanes>;   // [rows, cols]
@group(0) @binding(3) var<storage, read> dy: array<lanes>;        // [rows, cols]
@group(0) @binding(4) var<storage, read_write> dx: array<lanes>;  // [rows, 2 cols]

override WG: u32 = 256;

// 1 / (1 + exp(-x)); clamping keeps exp finite.
fn logistic(x: lanes) -> lanes {
    return 1.0 / (1.0 + exp(-clamp(x, lanes(-87.0), lanes(87.0))));
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.rows * params.cols; i += groups.x * WG) {
        let at = i + i / params.cols * params.cols;
        let gate = x[at];
        y[i] = gate * logistic(gate) * x[at + params.cols];
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.rows * params.cols; i += groups.x * WG) {
        let at = i + i / params.cols * params.cols;
        let gate = x[at];
        let s = logistic(gate);
        dx[at] = dy[i] * x[at + params.cols] * s * (1.0 + gate * (1.0 - s));
        dx[at + params.cols] = dy[i] * gate * s;
    }
}
