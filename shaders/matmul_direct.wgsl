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
// The loops over rows run over whole arrays with constant bounds so that a compiler unrolls them and the arrays become
// registers. A bounds check on the index stops that: make this module without runtime checks.

override WG: u32 = 8;
override ROWS: u32 = 16;  // 8 or 16

const MOST: u32 = 16;

struct Tile {
    z: u32,       // batch * splits + split
    row: u32,     // the first of ROWS rows
    column: u32,  // this invocation's first four columns
    live: bool,   // false in the workgroups that folding the grid has added
}

var<private> left: array<vec4f, MOST>;
var<private> right: array<vec4f, MOST>;

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
    for (var i = 0u; i < MOST; i++) { left[i] = vec4f(); }
    for (var i = 0u; i < MOST; i++) { right[i] = vec4f(); }
    for (var k = k_begin; k < k_end; k += 4) {
        let b_left = load_b(b_start, k, tile.column);
        let b_right = load_b(b_start, k, tile.column + 4 * WG);
        for (var i = 0u; i < MOST; i += 4) {
            if (i < ROWS) {
                let rows = load_a(a_start, tile.row + i, k, k_end);
                left[i] += b_left * rows[0];
                left[i + 1] += b_left * rows[1];
                left[i + 2] += b_left * rows[2];
                left[i + 3] += b_left * rows[3];
                right[i] += b_right * rows[0];
                right[i + 1] += b_right * rows[1];
                right[i + 2] += b_right * rows[2];
                right[i + 3] += b_right * rows[3];
            }
        }
    }
}

@compute @workgroup_size(WG)
fn product(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) local: u32) {
    let tile = tile_of(id.x + id.y * groups.x, local);
    if (!tile.live) { return; }
    accumulate(tile);
    for (var i = 0u; i < MOST; i++) {
        if (i < ROWS && tile.row + i < params.m) {
            store(tile.z, tile.row + i, tile.column, left[i]);
            store(tile.z, tile.row + i, tile.column + 4 * WG, right[i]);
        }
    }
}

@compute @workgroup_size(WG)
fn product_bias(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u,
                @builtin(local_invocation_index) local: u32) {
    let tile = tile_of(id.x + id.y * groups.x, local);
    if (!tile.live) { return; }
    accumulate(tile);
    let left_bias = load_bias(tile.column);
    let right_bias = load_bias(tile.column + 4 * WG);
    for (var i = 0u; i < MOST; i++) {
        if (i < ROWS && tile.row + i < params.m) {
            store(tile.z, tile.row + i, tile.column, left[i] + left_bias);
            store(tile.z, tile.row + i, tile.column + 4 * WG, right[i] + right_bias);
        }
    }
}

@compute @workgroup_size(WG)
fn product_bias_activation(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u,
                           @builtin(local_invocation_index) local: u32) {
    let tile = tile_of(id.x + id.y * groups.x, local);
    if (!tile.live) { return; }
    accumulate(tile);
    let left_bias = load_bias(tile.column);
    let right_bias = load_bias(tile.column + 4 * WG);
    for (var i = 0u; i < MOST; i++) {
        if (i < ROWS && tile.row + i < params.m) {
            let left_value = left[i] + left_bias;
            let right_value = right[i] + right_bias;
            store_pre(tile.z, tile.row + i, tile.column, left_value);
            store_pre(tile.z, tile.row + i, tile.column + 4 * WG, right_value);
            store(tile.z, tile.row + i, tile.column, activate(ACTIVATION, left_value));
            store(tile.z, tile.row + i, tile.column + 4 * WG, activate(ACTIVATION, right_value));
        }
    }
}
