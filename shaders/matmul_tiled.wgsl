// matmul_tiled: the product (shared/product.wgsl) for GPUs, for any size.
//
// A workgroup of 64 invocations computes a tile of TILE by TILE, going through k in steps of DEPTH:
// together they bring DEPTH columns of op(A) and DEPTH rows of op(B) into workgroup memory, then
// each adds up the outer products for its own values, kept in registers as 4 by 4 matrices: with
// TILE 64 four blocks, 32 rows and 32 columns apart, with TILE 32 (more workgroups, for small
// products) the first of them.

const WG = 64u;

override TILE: u32 = 64;           // rows and columns a workgroup: 64 or 32
override DEPTH: u32 = 16;          // step through k: 16 or 32
override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override ACTIVATION: u32 = 0;      // see shared/activation.wgsl

@group(0) @binding(3) var<storage, read> bias: array<f32>;       // [n]
@group(0) @binding(4) var<storage, read_write> pre: array<f32>;  // [batch, m, n]
@group(0) @binding(5) var<storage, read_write> c: array<f32>;    // [batch, splits, m, n]

// From one k to the next in workgroup memory, in vec4: TILE values and a gap that spreads the
// writes over the banks.
override PITCH: u32 = TILE / 4 + 1;

var<workgroup> a_tile: array<vec4f, DEPTH * PITCH>; // [k][row / 4]
var<workgroup> b_tile: array<vec4f, DEPTH * PITCH>; // [k][column / 4]

// This invocation's values, each block transposed: column i of a matrix is row i of the block.
var<private> top_left: mat4x4f;
var<private> top_right: mat4x4f;
var<private> bottom_left: mat4x4f;
var<private> bottom_right: mat4x4f;

// Four rows of op(A) at one k; zero past the end of k.
fn load_a(start: u32, row: u32, k: u32, k_end: u32) -> vec4f {
    let i = min(row + NEXT, vec4u(params.m - 1));
    let at_k = min(k, params.k - 1);
    let at = start + select(i * params.k + at_k, at_k * params.m + i, TRANSPOSE_A);
    return select(vec4f(), vec4f(a_one(at.x), a_one(at.y), a_one(at.z), a_one(at.w)), k < k_end);
}

// Four columns of op(B) at one k; zero past the end of k.
fn load_b(start: u32, column: u32, k: u32, k_end: u32) -> vec4f {
    let j = min(column + NEXT, vec4u(params.n - 1));
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
    let span = span_of(tile);
    for (var k = span.k_begin; k < span.k_end; k += DEPTH) {
        // Neighbouring invocations read neighbouring elements, along k or across it.
        for (var i = local; i < DEPTH * TILE / 4; i += WG) {
            let a_k = select(i % DEPTH, i / (TILE / 4), TRANSPOSE_A);
            let a_group = select(i / DEPTH, i % (TILE / 4), TRANSPOSE_A);
            a_tile[a_k * PITCH + a_group] = load_a(span.a, tile.row + 4 * a_group, k + a_k, span.k_end);
            let b_k = select(i / (TILE / 4), i % DEPTH, TRANSPOSE_B);
            let b_group = select(i % (TILE / 4), i / DEPTH, TRANSPOSE_B);
            b_tile[b_k * PITCH + b_group] = load_b(span.b, tile.column + 4 * b_group, k + b_k, span.k_end);
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

fn load_bias(column: u32) -> vec4f {
    let j = min(column + NEXT, vec4u(params.n - 1));
    return vec4f(bias[j.x], bias[j.y], bias[j.z], bias[j.w]);
}

// Four columns of a row of c[z]; those past n stay unwritten.
fn store(z: u32, row: u32, column: u32, value: vec4f) {
    let at = (z * params.m + row) * params.n + column;
    if (column < params.n) { c[at] = value.x; }
    if (column + 1 < params.n) { c[at + 1] = value.y; }
    if (column + 2 < params.n) { c[at + 2] = value.z; }
    if (column + 3 < params.n) { c[at + 3] = value.w; }
}

fn store_pre(z: u32, row: u32, column: u32, value: vec4f) {
    let at = (z * params.m + row) * params.n + column;
    if (column < params.n) { pre[at] = value.x; }
    if (column + 1 < params.n) { pre[at + 1] = value.y; }
    if (column + 2 < params.n) { pre[at + 2] = value.z; }
    if (column + 3 < params.n) { pre[at + 3] = value.w; }
}

fn compute(at: Invocation) {
    let tile = tile_of(at.group.x + at.group.y * at.groups.x, TILE, TILE);
    accumulate(tile, at.local);
    let left = tile.column + at.local % 8 * 4;
    let right = left + 32;
    let left_shift = shift_of(left);
    let right_shift = shift_of(right);
    for (var i = 0u; i < TILE / 8; i++) {
        // the second four rows are 32 below the first
        let row = tile.row + at.local / 8 * 4 + select(i, i + 28, i >= 4);
        if (tile.live && row < params.m) {
            finish(tile.z, row, left, left_of(i), left_shift);
            if (TILE == 64) { finish(tile.z, row, right, right_of(i), right_shift); }
        }
    }
}
