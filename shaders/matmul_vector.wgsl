// C[z] = op(A[z]) · op(B[z]), then + bias, then an activation, where op(A) has at most four rows: the product of decoding,
// which is over when all of B has been read once.
//
//   product                  (a, b -> c)               c = op(a) · op(b)
//   product_bias             (a, b, bias -> c)         c = op(a) · op(b) + bias
//   product_bias_activation  (a, b, bias -> pre, c)    pre = op(a) · op(b) + bias,  c = activation(pre)
//
//   a     [batch, m, k], or [batch, k, m] with TRANSPOSE_A; m at most 4
//   b     [batch, k, n], or [batch, n, k] with TRANSPOSE_B
//   bias  [n]
//   c     [batch, splits, m, n]      pre the same
//
// LANES invocations share four columns of c: each adds up every LANES-th four of k, and the sums meet in
// shared/lanes_memory.wgsl. Software adapters, for which a barrier costs more than it saves, take LANES = 1.
// The grid is batch * splits * ceil(n / (4 WG / LANES)) workgroups, columns fastest, folded over x and y as the host
// likes. A split s adds up only k in [s k_chunk, (s + 1) k_chunk); k_chunk is a multiple of 4 and at most 131,072, for
// the sake of drivers that end every loop after 65,535 rounds. Every load is clamped and every store guarded, so the module
// needs no runtime checks.

override WG: u32 = 8;
override LANES: u32 = 1;
override ROWS: u32 = 1;   // m

struct Tile {
    z: u32,       // batch * splits + split
    column: u32,  // the first of four
    live: bool,   // false in the workgroups that folding the grid has added
    writes: bool, // one of the LANES
}

fn tile_of(at: Invocation) -> Tile {
    let workgroup = at.group.x + at.group.y * at.groups.x;
    let width = 4 * (WG / LANES);
    let across = (params.n + width - 1) / width;
    let z = workgroup / across;
    let live = z < params.batch * params.splits;
    return Tile(z, workgroup % across * width + at.local / LANES * 4, live, live && at.local % LANES == 0);
}

// Row i of the result in column i of the matrix. Reached by the whole workgroup.
fn accumulate(tile: Tile, local: u32) -> mat4x4f {
    let item = tile.z / params.splits;
    let k_begin = tile.z % params.splits * params.k_chunk;
    let k_end = select(0, min(k_begin + params.k_chunk, params.k), tile.live);
    let a_start = item * params.a_stride;
    let b_start = item * params.b_stride;
    var sums = mat4x4f();
    for (var k = k_begin + 4 * (local % LANES); k < k_end; k += 4 * LANES) {
        let b4 = load_b(b_start, k, tile.column);
        if (TRANSPOSE_A) {
            sums += b4 * load_a(a_start, 0, k, k_end);
        } else {
            sums[0] += b4 * a_along_k(a_start, k, k_end);
            if (ROWS > 1) { sums[1] += b4 * a_along_k(a_start + params.k, k, k_end); }
            if (ROWS > 2) { sums[2] += b4 * a_along_k(a_start + 2 * params.k, k, k_end); }
            if (ROWS > 3) { sums[3] += b4 * a_along_k(a_start + 3 * params.k, k, k_end); }
        }
    }
    return over_lanes(local, sums);
}

@compute @workgroup_size(WG)
fn product(at: Invocation) {
    let tile = tile_of(at);
    let sums = accumulate(tile, at.local);
    if (tile.writes) {
        store(tile.z, 0, tile.column, sums[0]);
        if (ROWS > 1) { store(tile.z, 1, tile.column, sums[1]); }
        if (ROWS > 2) { store(tile.z, 2, tile.column, sums[2]); }
        if (ROWS > 3) { store(tile.z, 3, tile.column, sums[3]); }
    }
}

@compute @workgroup_size(WG)
fn product_bias(at: Invocation) {
    let tile = tile_of(at);
    let sums = accumulate(tile, at.local);
    if (tile.writes) {
        let shift = load_bias(tile.column);
        store(tile.z, 0, tile.column, sums[0] + shift);
        if (ROWS > 1) { store(tile.z, 1, tile.column, sums[1] + shift); }
        if (ROWS > 2) { store(tile.z, 2, tile.column, sums[2] + shift); }
        if (ROWS > 3) { store(tile.z, 3, tile.column, sums[3] + shift); }
    }
}

fn store_both(tile: Tile, row: u32, value: vec4f) {
    store_pre(tile.z, row, tile.column, value);
    store(tile.z, row, tile.column, activate(ACTIVATION, value));
}

@compute @workgroup_size(WG)
fn product_bias_activation(at: Invocation) {
    let tile = tile_of(at);
    let sums = accumulate(tile, at.local);
    if (tile.writes) {
        let shift = load_bias(tile.column);
        store_both(tile, 0, sums[0] + shift);
        if (ROWS > 1) { store_both(tile, 1, sums[1] + shift); }
        if (ROWS > 2) { store_both(tile, 2, sums[2] + shift); }
        if (ROWS > 3) { store_both(tile, 3, sums[3] + shift); }
    }
}
