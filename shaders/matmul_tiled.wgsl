// C[z] = op(A[z]) · op(B[z]), then + bias, then an activation: the form for GPUs, for any m, n and k.
//
//   product                  (a, b -> c)               c = op(a) · op(b)
//   product_bias             (a, b, bias -> c)         c = op(a) · op(b) + bias
//   product_bias_activation  (a, b, bias -> pre, c)    pre = op(a) · op(b) + bias,  c = activation(pre)
//
//   a     [batch, m, k], or [batch, k, m] with TRANSPOSE_A
//   b     [batch, k, n], or [batch, n, k] with TRANSPOSE_B
//   bias  [n]
//   c     [batch, splits, m, n]      pre the same
//
// One workgroup of 64 invocations computes a tile of TILE by TILE, going through k in steps of DEPTH: together they bring
// DEPTH columns of op(A) and DEPTH rows of op(B) into workgroup memory, then each adds up the outer products for its own
// values, kept in registers as 4 by 4 matrices: with TILE 64 four blocks, 32 rows and 32 columns apart, with TILE 32
// (more workgroups, for small products) the first of them.
// The grid is batch * splits * ceil(m / TILE) * ceil(n / TILE) workgroups, column tiles fastest, folded over x and y as
// the host likes. A split s adds up only k in [s k_chunk, (s + 1) k_chunk); k_chunk is at most 32,768, for the
// sake of drivers that end every loop after 65,535 rounds.

struct Params {
    m: u32,
    n: u32,
    k: u32,
    batch: u32,
    a_stride: u32, // elements from one item of the batch to the next; 0: one for all
    b_stride: u32,
    splits: u32,
    k_chunk: u32,
}

override TILE: u32 = 64;           // rows and columns a workgroup: 64 or 32
override DEPTH: u32 = 16;          // step through k: 16 or 32
override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override ACTIVATION: u32 = 0;      // see shared/activation.wgsl

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> bias: array<f32>;       // [n]
@group(0) @binding(4) var<storage, read_write> pre: array<f32>;  // [batch, m, n]
@group(0) @binding(5) var<storage, read_write> c: array<f32>;    // [batch, splits, m, n]

// From one k to the next in workgroup memory, in vec4: TILE values and a gap that spreads the writes over the banks.
override PITCH: u32 = TILE / 4 + 1;

var<workgroup> a_tile: array<vec4f, DEPTH * PITCH>; // [k][row / 4]
var<workgroup> b_tile: array<vec4f, DEPTH * PITCH>; // [k][column / 4]

// This invocation's values, each block transposed: column i of a matrix is row i of the block.
var<private> top_left: mat4x4f;
var<private> top_right: mat4x4f;
var<private> bottom_left: mat4x4f;
var<private> bottom_right: mat4x4f;

struct Tile {
    z: u32,       // batch * splits + split
    row: u32,     // of this invocation's first block
    column: u32,
}

fn tile_of(workgroup: u32, local: u32) -> Tile {
    let across = (params.n + TILE - 1) / TILE;
    let down = (params.m + TILE - 1) / TILE;
    return Tile(workgroup / across / down, workgroup / across % down * TILE + local / 8 * 4,
        workgroup % across * TILE + local % 8 * 4);
}

// Four rows of op(A) at one k; zero past the end of k.
fn load_a(start: u32, row: u32, k: u32, k_end: u32) -> vec4f {
    let i = min(row + vec4u(0, 1, 2, 3), vec4u(params.m - 1));
    let at_k = min(k, params.k - 1);
    let at = start + select(i * params.k + at_k, at_k * params.m + i, TRANSPOSE_A);
    return select(vec4f(), vec4f(a_one(at.x), a_one(at.y), a_one(at.z), a_one(at.w)), k < k_end);
}

// Four columns of op(B) at one k; zero past the end of k.
fn load_b(start: u32, column: u32, k: u32, k_end: u32) -> vec4f {
    let j = min(column + vec4u(0, 1, 2, 3), vec4u(params.n - 1));
    let at_k = min(k, params.k - 1);
    let at = start + select(at_k * params.n + j, j * params.k + at_k, TRANSPOSE_B);
    return select(vec4f(), vec4f(b_one(at.x), b_one(at.y), b_one(at.z), b_one(at.w)), k < k_end);
}

fn outer(rows: vec4f, columns: vec4f) -> mat4x4f {
    return mat4x4f(columns * rows.x, columns * rows.y, columns * rows.z, columns * rows.w);
}

fn add_outer(d: u32, local: u32) {
    let a_at = d * PITCH + local / 8;
    let b_at = d * PITCH + local % 8;
    let top = a_tile[a_at];
    let left = b_tile[b_at];
    top_left += outer(top, left);
    if (TILE == 64) {
        let bottom = a_tile[a_at + 8];
        let right = b_tile[b_at + 8];
        top_right += outer(top, right);
        bottom_left += outer(bottom, left);
        bottom_right += outer(bottom, right);
    }
}

fn accumulate(tile: Tile, local: u32) {
    let item = min(tile.z / params.splits, params.batch - 1);
    let k_begin = tile.z % params.splits * params.k_chunk;
    // The workgroups that folding the grid has added have nothing to add up.
    let k_end = select(0, min(k_begin + params.k_chunk, params.k), tile.z < params.batch * params.splits);
    let a_start = item * params.a_stride;
    let b_start = item * params.b_stride;
    let first_row = tile.row - local / 8 * 4;
    let first_column = tile.column - local % 8 * 4;
    for (var k = k_begin; k < k_end; k += DEPTH) {
        // Neighbouring invocations read neighbouring elements, along k or across it.
        for (var i = local; i < DEPTH * TILE / 4; i += 64) {
            let a_k = select(i % DEPTH, i / (TILE / 4), TRANSPOSE_A);
            let a_group = select(i / DEPTH, i % (TILE / 4), TRANSPOSE_A);
            a_tile[a_k * PITCH + a_group] = load_a(a_start, first_row + 4 * a_group, k + a_k, k_end);
            let b_k = select(i / (TILE / 4), i % DEPTH, TRANSPOSE_B);
            let b_group = select(i % (TILE / 4), i / DEPTH, TRANSPOSE_B);
            b_tile[b_k * PITCH + b_group] = load_b(b_start, first_column + 4 * b_group, k + b_k, k_end);
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) { add_outer(d, local); }
        workgroupBarrier();
    }
}

// Row i of this invocation's 8: of the left and the right block.
fn left_of(i: u32) -> vec4f {
    switch i {
        case 0: { return top_left[0]; }
        case 1: { return top_left[1]; }
        case 2: { return top_left[2]; }
        case 3: { return top_left[3]; }
        case 4: { return bottom_left[0]; }
        case 5: { return bottom_left[1]; }
        case 6: { return bottom_left[2]; }
        default: { return bottom_left[3]; }
    }
}

fn right_of(i: u32) -> vec4f {
    switch i {
        case 0: { return top_right[0]; }
        case 1: { return top_right[1]; }
        case 2: { return top_right[2]; }
        case 3: { return top_right[3]; }
        case 4: { return bottom_right[0]; }
        case 5: { return bottom_right[1]; }
        case 6: { return bottom_right[2]; }
        default: { return bottom_right[3]; }
    }
}

fn row_of(tile: Tile, i: u32) -> u32 {
    return tile.row + select(i, i + 28, i >= 4);
}

fn live(tile: Tile, row: u32) -> bool {
    return tile.z < params.batch * params.splits && row < params.m;
}

// Four columns of a row; those past n stay unwritten.
fn store(tile: Tile, row: u32, column: u32, value: vec4f) {
    let at = (tile.z * params.m + row) * params.n + column;
    if (column < params.n) { c[at] = value.x; }
    if (column + 1 < params.n) { c[at + 1] = value.y; }
    if (column + 2 < params.n) { c[at + 2] = value.z; }
    if (column + 3 < params.n) { c[at + 3] = value.w; }
}

fn store_pre(tile: Tile, row: u32, column: u32, value: vec4f) {
    let at = (tile.z * params.m + row) * params.n + column;
    if (column < params.n) { pre[at] = value.x; }
    if (column + 1 < params.n) { pre[at + 1] = value.y; }
    if (column + 2 < params.n) { pre[at + 2] = value.z; }
    if (column + 3 < params.n) { pre[at + 3] = value.w; }
}

fn load_bias(column: u32) -> vec4f {
    let j = min(column + vec4u(0, 1, 2, 3), vec4u(params.n - 1));
    return vec4f(bias[j.x], bias[j.y], bias[j.z], bias[j.w]);
}

@compute @workgroup_size(64)
fn product(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) local: u32) {
    let tile = tile_of(id.x + id.y * groups.x, local);
    accumulate(tile, local);
    for (var i = 0u; i < TILE / 8; i++) {
        let row = row_of(tile, i);
        if (live(tile, row)) {
            store(tile, row, tile.column, left_of(i));
            if (TILE == 64) { store(tile, row, tile.column + 32, right_of(i)); }
        }
    }
}

@compute @workgroup_size(64)
fn product_bias(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u,
                @builtin(local_invocation_index) local: u32) {
    let tile = tile_of(id.x + id.y * groups.x, local);
    accumulate(tile, local);
    let left_bias = load_bias(tile.column);
    let right_bias = load_bias(tile.column + 32);
    for (var i = 0u; i < TILE / 8; i++) {
        let row = row_of(tile, i);
        if (live(tile, row)) {
            store(tile, row, tile.column, left_of(i) + left_bias);
            if (TILE == 64) { store(tile, row, tile.column + 32, right_of(i) + right_bias); }
        }
    }
}

@compute @workgroup_size(64)
fn product_bias_activation(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u,
                           @builtin(local_invocation_index) local: u32) {
    let tile = tile_of(id.x + id.y * groups.x, local);
    accumulate(tile, local);
    let left_bias = load_bias(tile.column);
    let right_bias = load_bias(tile.column + 32);
    for (var i = 0u; i < TILE / 8; i++) {
        let row = row_of(tile, i);
        if (live(tile, row)) {
            let left = left_of(i) + left_bias;
            let right = right_of(i) + right_bias;
            store_pre(tile, row, tile.column, left);
            if (TILE == 64) { store_pre(tile, row, tile.column + 32, right); }
            store(tile, row, tile.column, activate(ACTIVATION, left));
            if (TILE == 64) { store(tile, row, tile.column + 32, activate(ACTIVATION, right)); }
        }
    }
}
