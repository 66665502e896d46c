// matmul_cooperative: the product (shared/product.wgsl) of halves, with sums in f32, for adapters
// with units that multiply small matrices (tensor cores).
//
// A workgroup is four subgroups of SG invocations and computes a tile of TILE by TILE, TILE = 4
// SIDE; each subgroup a quarter of it, as two by two matrices of SIDE by SIDE
// (shared/cooperative_*.wgsl). DEPTH columns of op(A) and DEPTH rows of op(B) at a time lie in
// workgroup memory, laid out as they are in a and b, with zeros past k; the matrices are loaded
// from there by row or by column. Sums leave through workgroup memory too, so that any size will
// do. With FOURS, a and b are read four elements at a time, for which their last dimension must be
// divisible by 4.

enable f16;
enable wgpu_cooperative_matrix;

override SG: u32 = 32;             // invocations in a subgroup
override WG: u32 = 4 * SG;
override FOURS: bool = true;
override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override ACTIVATION: u32 = 0;      // see shared/activation.wgsl

const TILE = 4 * SIDE;
const DEPTH = 32u;

@group(0) @binding(1) var<storage, read> a: array<vec4<f16>>;    // [batch, m, k] or [batch, k, m]
@group(0) @binding(2) var<storage, read> b: array<vec4<f16>>;    // [batch, k, n] or [batch, n, k]
@group(0) @binding(3) var<storage, read> bias: array<f32>;       // [n]
@group(0) @binding(4) var<storage, read_write> pre: array<f32>;  // [batch, m, n]
@group(0) @binding(5) var<storage, read_write> c: array<f32>;    // [batch, splits, m, n]

struct Invocation {
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
}

var<workgroup> a_tile: array<f16, TILE * DEPTH>;  // [row][k], or [k][row] with TRANSPOSE_A
var<workgroup> b_tile: array<f16, TILE * DEPTH>;  // [k][column], or [column][k] with TRANSPOSE_B
var<workgroup> out: array<f32, TILE * TILE>;      // [row][column]

// Columns column..column + 3 of a row of `width` elements that begins at `start`; past the last,
// others of the row.
fn a_row(start: u32, column: u32, width: u32) -> vec4<f16> {
    if (FOURS) { return a[(start + min(column, width - 4)) / 4]; }
    let at = start + min(column + NEXT, vec4u(width - 1));
    return vec4<f16>(a[at.x / 4][at.x % 4], a[at.y / 4][at.y % 4], a[at.z / 4][at.z % 4], a[at.w / 4][at.w % 4]);
}

fn b_row(start: u32, column: u32, width: u32) -> vec4<f16> {
    if (FOURS) { return b[(start + min(column, width - 4)) / 4]; }
    let at = start + min(column + NEXT, vec4u(width - 1));
    return vec4<f16>(b[at.x / 4][at.x % 4], b[at.y / 4][at.y % 4], b[at.z / 4][at.z % 4], b[at.w / 4][at.w % 4]);
}

// Four of k of one row or column, or four rows or columns of one k: zero from k_end on.
fn within(v: vec4<f16>, k: vec4u, k_end: u32) -> vec4<f16> {
    return select(vec4<f16>(), v, k < vec4u(k_end));
}

fn fill_tiles(tile: Tile, a_start: u32, b_start: u32, k: u32, k_end: u32, local: u32) {
    for (var i = local; i < TILE * DEPTH / 4; i += WG) {
        var v: vec4<f16>;
        if (TRANSPOSE_A) {
            let at_k = k + i / (TILE / 4);
            let row = a_start + min(at_k, params.k - 1) * params.m;
            v = within(a_row(row, tile.row + i % (TILE / 4) * 4, params.m), vec4u(at_k), k_end);
        } else {
            let at_k = k + i % (DEPTH / 4) * 4;
            let row = a_start + min(tile.row + i / (DEPTH / 4), params.m - 1) * params.k;
            v = within(a_row(row, at_k, params.k), at_k + NEXT, k_end);
        }
        a_tile[4 * i] = v.x;
        a_tile[4 * i + 1] = v.y;
        a_tile[4 * i + 2] = v.z;
        a_tile[4 * i + 3] = v.w;
        if (TRANSPOSE_B) {
            let at_k = k + i % (DEPTH / 4) * 4;
            let row = b_start + min(tile.column + i / (DEPTH / 4), params.n - 1) * params.k;
            v = within(b_row(row, at_k, params.k), at_k + NEXT, k_end);
        } else {
            let at_k = k + i / (TILE / 4);
            let row = b_start + min(at_k, params.k - 1) * params.n;
            v = within(b_row(row, tile.column + i % (TILE / 4) * 4, params.n), vec4u(at_k), k_end);
        }
        b_tile[4 * i] = v.x;
        b_tile[4 * i + 1] = v.y;
        b_tile[4 * i + 2] = v.z;
        b_tile[4 * i + 3] = v.w;
    }
}

fn left_of(row: u32, k: u32) -> Left {
    if (TRANSPOSE_A) { return coopLoad<Left>(&a_tile[k * TILE + row], TILE); }
    return coopLoadT<Left>(&a_tile[row * DEPTH + k], DEPTH);
}

fn right_of(k: u32, column: u32) -> Right {
    if (TRANSPOSE_B) { return coopLoad<Right>(&b_tile[column * DEPTH + k], DEPTH); }
    return coopLoadT<Right>(&b_tile[k * TILE + column], TILE);
}

// Leaves the tile in `out`. Reached by the whole workgroup.
fn accumulate(tile: Tile, local: u32, subgroup: u32) {
    let span = span_of(tile);
    let row = subgroup / 2 * 2 * SIDE;
    let column = subgroup % 2 * 2 * SIDE;
    var top_left = Sums();
    var top_right = Sums();
    var bottom_left = Sums();
    var bottom_right = Sums();
    for (var k = span.k_begin; k < span.k_end; k += DEPTH) {
        fill_tiles(tile, span.a, span.b, k, span.k_end, local);
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d += SIDE) {
            let top = left_of(row, d);
            let bottom = left_of(row + SIDE, d);
            let left = right_of(d, column);
            let right = right_of(d, column + SIDE);
            top_left = coopMultiplyAdd(top, left, top_left);
            top_right = coopMultiplyAdd(top, right, top_right);
            bottom_left = coopMultiplyAdd(bottom, left, bottom_left);
            bottom_right = coopMultiplyAdd(bottom, right, bottom_right);
        }
        workgroupBarrier();
    }
    coopStoreT(top_left, &out[row * TILE + column], TILE);
    coopStoreT(top_right, &out[row * TILE + column + SIDE], TILE);
    coopStoreT(bottom_left, &out[(row + SIDE) * TILE + column], TILE);
    coopStoreT(bottom_right, &out[(row + SIDE) * TILE + column + SIDE], TILE);
    workgroupBarrier();
}

// One column at a time, so that neighbouring invocations access neighbouring elements.
fn load_bias(column: u32) -> vec4f { return vec4f(bias[column]); }

fn store(z: u32, row: u32, column: u32, value: vec4f) { c[(z * params.m + row) * params.n + column] = value.x; }

fn store_pre(z: u32, row: u32, column: u32, value: vec4f) { pre[(z * params.m + row) * params.n + column] = value.x; }

fn compute(at: Invocation) {
    let tile = tile_of(at.group.x + at.group.y * at.groups.x, TILE, TILE);
    accumulate(tile, at.local, at.subgroup);
    for (var i = at.local; i < TILE * TILE; i += WG) {
        let row = tile.row + i / TILE;
        let column = tile.column + i % TILE;
        if (tile.live && row < params.m && column < params.n) {
            finish(tile.z, row, column, vec4f(out[i]), shift_of(column));
        }
    }
}
