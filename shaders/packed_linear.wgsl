// packed_linear: y = x · Wᵀ for packed weights W[n, k] (shared/packed.wgsl) and few rows of x, as in
// decoding, where reading W once is all the work
//
//   forward        x[m, k], W -> y[m, n]
//   forward_bias   x, W, bias[n] -> y[m, n]
//   backward       dy[m, n], W -> dx[m, k]      dx = dy · W
//
// forward: a workgroup computes WG / LANES columns in ROWS rows. LANES invocations share a column:
// each adds up every LANES-th block, and their sums meet in workgroup memory. Software adapters, for
// which a barrier costs more than it saves, take LANES = 1. The grid is a workgroup for each such
// part of y, columns fastest.
// backward: a workgroup computes 32 columns of a row. Each invocation adds up every WG-th row of W.
// The grid is a workgroup for each block of dx, blocks fastest.
// Every load is clamped and every store guarded, so the module needs no runtime checks.

struct Params {
    m: u32,
    n: u32,
    k: u32,
    blocks: u32,     // of 32 columns in a row of W
    row_quads: u32,  // quads of words in a row of W
}

override WG: u32 = 8;
override LANES: u32 = 1;
override ROWS: u32 = 1;         // at most 4
override WHOLE: bool = true;    // whether k is a multiple of 32
// For the Rust bodies alone: whether operands may be rounded to bf16, and the activation of y.
override ROUND: bool = false;
override ACTIVATION: u32 = 0;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> x: array<vec4f>;         // [m, k]
@group(0) @binding(4) var<storage, read> bias: array<f32>;        // [n]
@group(0) @binding(5) var<storage, read_write> y: array<f32>;     // [m, n]
@group(0) @binding(6) var<storage, read> dy: array<f32>;          // [m, n]
@group(0) @binding(7) var<storage, read_write> dx: array<vec4f>;  // [m, k]

struct Invocation {
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
}

const NEXT = vec4u(0, 1, 2, 3);

// Columns column..column + 3 of a row of x; zero from k on.
fn x_four(row: u32, column: u32) -> vec4f {
    if (WHOLE) { return x[(row * params.k + column) / 4]; }
    let at = row * params.k + min(column + NEXT, vec4u(params.k - 1));
    let v = vec4f(x[at.x / 4][at.x % 4], x[at.y / 4][at.y % 4], x[at.z / 4][at.z % 4], x[at.w / 4][at.w % 4]);
    return select(vec4f(), v, column + NEXT < vec4u(params.k));
}

// What a block adds to the four partial sums of a row.
fn product(b: Block, row: u32, block: u32) -> vec4f {
    let at = min(row, params.m - 1);
    let column = 32 * block;
    return b.low[0] * x_four(at, column)
        + b.low[1] * x_four(at, column + 4)
        + b.low[2] * x_four(at, column + 8)
        + b.low[3] * x_four(at, column + 12)
        + b.high[0] * x_four(at, column + 16)
        + b.high[1] * x_four(at, column + 20)
        + b.high[2] * x_four(at, column + 24)
        + b.high[3] * x_four(at, column + 28);
}

var<workgroup> parts: array<vec4f, WG>;

// Sum over the LANES invocations of a column, for the first of them. Reached by the whole workgroup.
fn over_lanes(local: u32, value: vec4f) -> vec4f {
    if (LANES == 1) { return value; }
    parts[local] = value;
    for (var stride = LANES / 2; stride > 0; stride /= 2) {
        workgroupBarrier();
        if (local % LANES < stride) { parts[local] += parts[local + stride]; }
    }
    return parts[local];
}

// Results of an invocation: a column of up to four rows.
struct Results {
    row: u32,
    column: u32,
    values: vec4f,
    whole: bool,  // whether the values are those of all LANES
}

fn compute(at: Invocation) -> Results {
    let across = (params.n + WG / LANES - 1) / (WG / LANES);
    let index = at.group.x + at.group.y * at.groups.x;
    // past the last row in workgroups added by folding the grid
    let row = index / across * ROWS;
    let column = index % across * (WG / LANES) + at.local / LANES;
    let source = min(column, params.n - 1);
    var sums = mat4x4f();
    for (var block = at.local % LANES; block < params.blocks; block += LANES) {
        let b = block_at(source, block);
        sums[0] += product(b, row, block);
        if (ROWS > 1) { sums[1] += product(b, row + 1, block); }
        if (ROWS > 2) { sums[2] += product(b, row + 2, block); }
        if (ROWS > 3) { sums[3] += product(b, row + 3, block); }
    }
    let values = over_lanes(at.local, vec4f(1) * sums);
    return Results(row, column, values, at.local % LANES == 0);
}

fn store(row: u32, column: u32, value: f32) {
    if (row < params.m && column < params.n) { y[row * params.n + column] = value; }
}

fn finish(results: Results) {
    if (results.whole) {
        store(results.row, results.column, results.values.x);
        if (ROWS > 1) { store(results.row + 1, results.column, results.values.y); }
        if (ROWS > 2) { store(results.row + 2, results.column, results.values.z); }
        if (ROWS > 3) { store(results.row + 3, results.column, results.values.w); }
    }
}

@compute @workgroup_size(WG)
fn forward(at: Invocation) { finish(compute(at)); }

@compute @workgroup_size(WG)
fn forward_bias(at: Invocation) {
    var results = compute(at);
    results.values += bias[min(results.column, params.n - 1)];
    finish(results);
}

var<workgroup> gradients: array<Block, WG>;

// Columns column..column + 3 of a row of dx; those from k on stay unwritten.
fn store_four(row: u32, column: u32, value: vec4f) {
    let at = row * params.k + column;
    if (WHOLE) {
        dx[at / 4] = value;
        return;
    }
    if (column < params.k) { dx[at / 4][at % 4] = value.x; }
    if (column + 1 < params.k) { dx[(at + 1) / 4][(at + 1) % 4] = value.y; }
    if (column + 2 < params.k) { dx[(at + 2) / 4][(at + 2) % 4] = value.z; }
    if (column + 3 < params.k) { dx[(at + 3) / 4][(at + 3) % 4] = value.w; }
}

@compute @workgroup_size(WG)
fn backward(at: Invocation) {
    let index = at.group.x + at.group.y * at.groups.x;
    let row = index / params.blocks;
    let block = index % params.blocks;
    let first = min(row, params.m - 1) * params.n;
    var sum = Block();
    for (var j = at.local; j < params.n; j += WG) {
        let b = block_at(j, block);
        let scale = dy[first + j];
        sum.low += b.low * scale;
        sum.high += b.high * scale;
    }
    gradients[at.local] = sum;
    for (var stride = WG / 2; stride > 0; stride /= 2) {
        workgroupBarrier();
        if (at.local < stride) {
            gradients[at.local].low += gradients[at.local + stride].low;
            gradients[at.local].high += gradients[at.local + stride].high;
        }
    }
    if (at.local == 0 && row < params.m) {
        let total = gradients[0];
        let column = 32 * block;
        store_four(row, column, total.low[0]);
        store_four(row, column + 4, total.low[1]);
        store_four(row, column + 8, total.low[2]);
        store_four(row, column + 12, total.low[3]);
        store_four(row, column + 16, total.high[0]);
        store_four(row, column + 20, total.high[1]);
        store_four(row, column + 24, total.high[2]);
        store_four(row, column + 28, total.high[3]);
    }
}
