// C[z] = op(A[z]) · op(B[z]), then + bias, then an activation: the form for any adapter and any size. No workgroup memory,
// no barriers, no subgroups.
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
// An invocation keeps ROWS rows by 8 columns of c in registers: twice four columns, 4 WG apart, so that neighbours read
// neighbouring vec4. The rows are the same for a whole workgroup, whose loads of A a driver can therefore do once.
// The grid is batch * splits * ceil(m / ROWS) * ceil(n / (8 WG)) workgroups, column tiles fastest, folded over x and y as
// the host likes. A split s adds up only k in [s k_chunk, (s + 1) k_chunk); k_chunk is a multiple of 4 and at most
// 32,768, for the sake of drivers that end every loop after 65,535 rounds.
//
// The sums are variables of their own, not an array: compilers keep an array in registers only under conditions. Every load
// is clamped and every store guarded, so the module needs no runtime checks.

override WG: u32 = 8;
override ROWS: u32 = 16;  // 8 or 16

struct Tile {
    z: u32,       // batch * splits + split
    row: u32,     // the first of ROWS rows
    column: u32,  // this invocation's first four columns
    live: bool,   // false in the workgroups that folding the grid has added
}

// Blocks of four rows by four columns, row i in column i of the matrix.
var<private> left_0: mat4x4f;
var<private> left_1: mat4x4f;
var<private> left_2: mat4x4f;
var<private> left_3: mat4x4f;
var<private> right_0: mat4x4f;
var<private> right_1: mat4x4f;
var<private> right_2: mat4x4f;
var<private> right_3: mat4x4f;

fn tile_of(workgroup: u32, local: u32) -> Tile {
    let across = (params.n + 8 * WG - 1) / (8 * WG);
    let down = (params.m + ROWS - 1) / ROWS;
    let z = workgroup / across / down;
    return Tile(z, workgroup / across % down * ROWS, workgroup % across * 8 * WG + 4 * local, z < params.batch * params.splits);
}

fn accumulate(tile: Tile) {
    let item = tile.z / params.splits;
    let k_begin = tile.z % params.splits * params.k_chunk;
    let k_end = min(k_begin + params.k_chunk, params.k);
    let a_start = item * params.a_stride;
    let b_start = item * params.b_stride;
    for (var k = k_begin; k < k_end; k += 4) {
        let b_left = load_b(b_start, k, tile.column);
        let b_right = load_b(b_start, k, tile.column + 4 * WG);
        let a_0 = load_a(a_start, tile.row, k, k_end);
        left_0 += b_left * a_0;
        right_0 += b_right * a_0;
        let a_1 = load_a(a_start, tile.row + 4, k, k_end);
        left_1 += b_left * a_1;
        right_1 += b_right * a_1;
        if (ROWS > 8) {
            let a_2 = load_a(a_start, tile.row + 8, k, k_end);
            left_2 += b_left * a_2;
            right_2 += b_right * a_2;
            let a_3 = load_a(a_start, tile.row + 12, k, k_end);
            left_3 += b_left * a_3;
            right_3 += b_right * a_3;
        }
    }
}

fn row_of(z: u32, row: u32, column: u32, value: vec4f) {
    if (row < params.m) { store(z, row, column, value); }
}

fn pre_row_of(z: u32, row: u32, column: u32, value: vec4f) {
    if (row < params.m) { store_pre(z, row, column, value); }
}

fn block(z: u32, row: u32, column: u32, rows: mat4x4f) {
    row_of(z, row, column, rows[0]);
    row_of(z, row + 1, column, rows[1]);
    row_of(z, row + 2, column, rows[2]);
    row_of(z, row + 3, column, rows[3]);
}

// Four rows with one vector added to each.
fn shifted(rows: mat4x4f, by: vec4f) -> mat4x4f {
    return rows + mat4x4f(by, by, by, by);
}

fn activated_block(z: u32, row: u32, column: u32, rows: mat4x4f) {
    pre_row_of(z, row, column, rows[0]);
    pre_row_of(z, row + 1, column, rows[1]);
    pre_row_of(z, row + 2, column, rows[2]);
    pre_row_of(z, row + 3, column, rows[3]);
    block(z, row, column, mat4x4f(activate(ACTIVATION, rows[0]), activate(ACTIVATION, rows[1]),
        activate(ACTIVATION, rows[2]), activate(ACTIVATION, rows[3])));
}

@compute @workgroup_size(WG)
fn product(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) local: u32) {
    let tile = tile_of(id.x + id.y * groups.x, local);
    if (!tile.live) { return; }
    accumulate(tile);
    let further = tile.column + 4 * WG;
    block(tile.z, tile.row, tile.column, left_0);
    block(tile.z, tile.row, further, right_0);
    block(tile.z, tile.row + 4, tile.column, left_1);
    block(tile.z, tile.row + 4, further, right_1);
    if (ROWS > 8) {
        block(tile.z, tile.row + 8, tile.column, left_2);
        block(tile.z, tile.row + 8, further, right_2);
        block(tile.z, tile.row + 12, tile.column, left_3);
        block(tile.z, tile.row + 12, further, right_3);
    }
}

@compute @workgroup_size(WG)
fn product_bias(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u,
                @builtin(local_invocation_index) local: u32) {
    let tile = tile_of(id.x + id.y * groups.x, local);
    if (!tile.live) { return; }
    accumulate(tile);
    let further = tile.column + 4 * WG;
    let left_bias = load_bias(tile.column);
    let right_bias = load_bias(further);
    block(tile.z, tile.row, tile.column, shifted(left_0, left_bias));
    block(tile.z, tile.row, further, shifted(right_0, right_bias));
    block(tile.z, tile.row + 4, tile.column, shifted(left_1, left_bias));
    block(tile.z, tile.row + 4, further, shifted(right_1, right_bias));
    if (ROWS > 8) {
        block(tile.z, tile.row + 8, tile.column, shifted(left_2, left_bias));
        block(tile.z, tile.row + 8, further, shifted(right_2, right_bias));
        block(tile.z, tile.row + 12, tile.column, shifted(left_3, left_bias));
        block(tile.z, tile.row + 12, further, shifted(right_3, right_bias));
    }
}

@compute @workgroup_size(WG)
fn product_bias_activation(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u,
                           @builtin(local_invocation_index) local: u32) {
    let tile = tile_of(id.x + id.y * groups.x, local);
    if (!tile.live) { return; }
    accumulate(tile);
    let further = tile.column + 4 * WG;
    let left_bias = load_bias(tile.column);
    let right_bias = load_bias(further);
    activated_block(tile.z, tile.row, tile.column, shifted(left_0, left_bias));
    activated_block(tile.z, tile.row, further, shifted(right_0, right_bias));
    activated_block(tile.z, tile.row + 4, tile.column, shifted(left_1, left_bias));
    activated_block(tile.z, tile.row + 4, further, shifted(right_1, right_bias));
    if (ROWS > 8) {
        activated_block(tile.z, tile.row + 8, tile.column, shifted(left_2, left_bias));
        activated_block(tile.z, tile.row + 8, further, shifted(right_2, right_bias));
        activated_block(tile.z, tile.row + 12, tile.column, shifted(left_3, left_bias));
        activated_block(tile.z, tile.row + 12, further, shifted(right_3, right_bias));
    }
}
