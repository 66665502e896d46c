// matmul_vector: the product (shared/product.wgsl) of a matrix of at most four rows, as in
// decoding, where reading B once is all the work.
//
// LANES invocations share four columns of c: each adds up every LANES-th four of k, and their sums
// meet in shared/lanes_memory.wgsl. Software adapters, for which a barrier costs more than it
// saves, take LANES = 1. A workgroup computes 4 WG / LANES columns. Every load is clamped and every
// store guarded, so the module needs no runtime checks.

override WG: u32 = 8;
override LANES: u32 = 1;
override ROWS: u32 = 1;            // m
override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override ACTIVATION: u32 = 0;      // see shared/activation.wgsl

// Row i of the result in column i of the matrix. Reached by the whole workgroup.
fn accumulate(tile: Tile, column: u32, local: u32) -> mat4x4f {
    let span = span_of(tile);
    var sums = mat4x4f();
    for (var k = span.k_begin + 4 * (local % LANES); k < span.k_end; k += 4 * LANES) {
        let b4 = load_b(span.b, k, column);
        if (TRANSPOSE_A) {
            sums += b4 * load_a(span.a, 0, k, span.k_end);
        } else {
            sums[0] += b4 * a_along_k(span.a, k, span.k_end);
            if (ROWS > 1) { sums[1] += b4 * a_along_k(span.a + params.k, k, span.k_end); }
            if (ROWS > 2) { sums[2] += b4 * a_along_k(span.a + 2 * params.k, k, span.k_end); }
            if (ROWS > 3) { sums[3] += b4 * a_along_k(span.a + 3 * params.k, k, span.k_end); }
        }
    }
    return over_lanes(local, sums);
}

fn compute(at: Invocation) {
    let tile = tile_of(at.group.x + at.group.y * at.groups.x, 4, 4 * (WG / LANES));
    let column = tile.column + at.local / LANES * 4;
    let sums = accumulate(tile, column, at.local);
    // one of the LANES writes
    if (tile.live && at.local % LANES == 0) {
        let shift = shift_of(column);
        finish(tile.z, 0, column, sums[0], shift);
        if (ROWS > 1) { finish(tile.z, 1, column, sums[1], shift); }
        if (ROWS > 2) { finish(tile.z, 2, column, sums[2], shift); }
        if (ROWS > 3) { finish(tile.z, 3, column, sums[3], shift); }
    }
}
