// matmul_direct: the product (shared/product.wgsl) on any adapter, for any size. No workgroup
// memory, no barriers, no subgroups.
//
// An invocation keeps ROWS rows by 8 columns of c in registers: twice four columns, 4 WG apart, so
// that neighbours read neighbouring vec4. The rows are the same for a whole workgroup, whose loads
// of A a driver can therefore do once. A workgroup computes ROWS by 8 WG elements.
//
// The sums are variables of their own, not an array: compilers keep an array in registers only
// under conditions. Every load is clamped and every store guarded, so the module needs no runtime
// checks.

override WG: u32 = 8;
override ROWS: u32 = 16;           // 8 or 16
override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override ACTIVATION: u32 = 0;      // see shared/activation.wgsl

// Blocks of four rows by four columns, row i in column i of the matrix.
var<private> left_0: mat4x4f;
var<private> left_1: mat4x4f;
var<private> left_2: mat4x4f;
var<private> left_3: mat4x4f;
var<private> right_0: mat4x4f;
var<private> right_1: mat4x4f;
var<private> right_2: mat4x4f;
var<private> right_3: mat4x4f;

fn accumulate(tile: Tile, left: u32, right: u32) {
    let span = span_of(tile);
    for (var k = span.k_begin; k < span.k_end; k += 4) {
        let b_left = load_b(span.b, k, left);
        let b_right = load_b(span.b, k, right);
        let a_0 = load_a(span.a, tile.row, k, span.k_end);
        left_0 += b_left * a_0;
        right_0 += b_right * a_0;
        let a_1 = load_a(span.a, tile.row + 4, k, span.k_end);
        left_1 += b_left * a_1;
        right_1 += b_right * a_1;
        if (ROWS > 8) {
            let a_2 = load_a(span.a, tile.row + 8, k, span.k_end);
            left_2 += b_left * a_2;
            right_2 += b_right * a_2;
            let a_3 = load_a(span.a, tile.row + 12, k, span.k_end);
            left_3 += b_left * a_3;
            right_3 += b_right * a_3;
        }
    }
}

fn compute(at: Invocation) {
    let tile = tile_of(at.group.x + at.group.y * at.groups.x, ROWS, 8 * WG);
    if (!tile.live) { return; }
    let left = tile.column + 4 * at.local;
    let right = left + 4 * WG;
    accumulate(tile, left, right);
    let left_shift = shift_of(left);
    let right_shift = shift_of(right);
    finish_block(tile.z, tile.row, left, left_0, left_shift);
    finish_block(tile.z, tile.row, right, right_0, right_shift);
    finish_block(tile.z, tile.row + 4, left, left_1, left_shift);
    finish_block(tile.z, tile.row + 4, right, right_1, right_shift);
    if (ROWS > 8) {
        finish_block(tile.z, tile.row + 8, left, left_2, left_shift);
        finish_block(tile.z, tile.row + 8, right, right_2, right_shift);
        finish_block(tile.z, tile.row + 12, left, left_3, left_shift);
        finish_block(tile.z, tile.row + 12, right, right_3, right_shift);
    }
}
