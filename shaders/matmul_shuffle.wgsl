// C[z] = op(A[z]) · op(B[z]), then + bias, then an activation: the form for adapters whose subgroups have a small,
// fixed size and share a vector register file (software Vulkan on a CPU: one subgroup is one SIMD register).
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
// Everything is read and written as vec4, so the last dimension of a, b and c must be divisible by 4:
//   A · B    needs k and n,      A · Bᵀ   needs k and n,
//   Aᵀ · B   needs m and n,      Aᵀ · Bᵀ  needs m, n and k.
// What is not named may have any size. The device needs subgroups of exactly SG invocations.
//
// One workgroup is one subgroup and computes a tile of ROWS rows by 4 SG columns (8 SG with WIDE). A lane owns four
// columns (four more with WIDE) and keeps ROWS sums of vec4 in registers. It loads, for every row of the tile, the four
// values of k that are its own; the lanes then take turns, lane t handing its values to all by subgroupShuffle, so that
// each element of A and of B is loaded once a tile. No workgroup memory, no barriers.
// The grid is batch * splits * ceil(m / ROWS) * ceil(n / (4 SG or 8 SG)) workgroups, column tiles fastest, folded over x
// and y as the host likes. A split s adds up only k in [s k_chunk, (s + 1) k_chunk); k_chunk is a multiple of 4 and at most
// 131,072, for the sake of drivers that end every loop after 65,535 rounds.
//
// The loops over rows run over whole arrays with constant bounds so that a compiler unrolls them and the arrays become
// registers. A bounds check on the index stops that (4 times slower): make this module without runtime checks. Every
// load is clamped into its matrix and every store guarded here.

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

override SG: u32 = 8;              // invocations in a subgroup
override ROWS: u32 = 32;           // rows a tile: 4, 8, ... 32
override WIDE: bool = false;       // two vec4 columns a lane
override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override ACTIVATION: u32 = 0;      // see shared/activation.wgsl

const MOST: u32 = 32;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;       // [n]
@group(0) @binding(4) var<storage, read_write> pre: array<vec4f>;  // [batch, m, n]
@group(0) @binding(5) var<storage, read_write> c: array<vec4f>;    // [batch, splits, m, n]

struct Tile {
    z: u32,       // batch * splits + split
    row: u32,     // the first of ROWS rows
    column: u32,  // this lane's four columns, counted in vec4; with WIDE the other four are SG further
    live: bool,   // false in the workgroups that folding the grid has added
}

var<private> sums: array<vec4f, MOST>;       // this lane's columns of the tile
var<private> wide_sums: array<vec4f, MOST>;

fn tile_of(workgroup: u32, lane: u32) -> Tile {
    let width = select(SG, 2 * SG, WIDE);
    let across = (params.n / 4 + width - 1) / width;
    let down = (params.m + ROWS - 1) / ROWS;
    let z = workgroup / across / down;
    return Tile(z, workgroup / across % down * ROWS, workgroup % across * width + lane, z < params.batch * params.splits);
}

// Rows k..k+3 of op(b), four columns: b4 * vec4(op(a)[i, k..k+3]) is what they add to row i.
fn load_b(start: u32, k: u32, column: u32) -> mat4x4f {
    let at_column = min(column, params.n / 4 - 1);
    if (TRANSPOSE_B) {
        let step = params.k / 4;
        let at = start + 4 * at_column * step + k / 4;
        return transpose(mat4x4f(b_four(at), b_four(at + step), b_four(at + 2 * step), b_four(at + 3 * step)));
    }
    let step = params.n / 4;
    let at = start + at_column;
    let last = params.k - 1;
    return mat4x4f(b_four(at + k * step), b_four(at + min(k + 1, last) * step), b_four(at + min(k + 2, last) * step),
        b_four(at + min(k + 3, last) * step));
}

// One row of op(a)ᵀ, four columns of it: zero past the end of k.
fn load_a_transposed(start: u32, k: u32, row: u32, k_end: u32) -> vec4f {
    let v = a_four(start + min(k, params.k - 1) * (params.m / 4) + min(row, params.m - 4) / 4);
    return select(vec4f(), v, k < k_end);
}

fn accumulate(tile: Tile, lane: u32) {
    let item = tile.z / params.splits;
    let k_begin = tile.z % params.splits * params.k_chunk;
    let k_end = min(k_begin + params.k_chunk, params.k);
    let a_start = item * params.a_stride / 4;
    let b_start = item * params.b_stride / 4;
    for (var i = 0u; i < MOST; i++) { sums[i] = vec4f(); }
    for (var i = 0u; i < MOST; i++) { wide_sums[i] = vec4f(); }

    var mine: array<vec4f, MOST>; // of every row, the four values of k that this lane hands out
    for (var k = k_begin; k < k_end; k += 4 * SG) {
        let my_k = k + 4 * lane;
        for (var i = 0u; i < MOST; i++) {
            if (i < ROWS && !TRANSPOSE_A) {
                let row = min(tile.row + i, params.m - 1);
                mine[i] = a_four(a_start + row * (params.k / 4) + min(my_k, params.k - 4) / 4);
            }
            if (i < ROWS && TRANSPOSE_A && i % 4 == 0) {
                let v0 = load_a_transposed(a_start, my_k, tile.row + i, k_end);
                let v1 = load_a_transposed(a_start, my_k + 1, tile.row + i, k_end);
                let v2 = load_a_transposed(a_start, my_k + 2, tile.row + i, k_end);
                let v3 = load_a_transposed(a_start, my_k + 3, tile.row + i, k_end);
                mine[i] = vec4f(v0.x, v1.x, v2.x, v3.x);
                mine[i + 1] = vec4f(v0.y, v1.y, v2.y, v3.y);
                mine[i + 2] = vec4f(v0.z, v1.z, v2.z, v3.z);
                mine[i + 3] = vec4f(v0.w, v1.w, v2.w, v3.w);
            }
        }
        let turns = min(SG, (k_end - k + 3) / 4);
        for (var t = 0u; t < turns; t++) {
            let b4 = load_b(b_start, k + 4 * t, tile.column);
            if (WIDE) {
                let wide_b4 = load_b(b_start, k + 4 * t, tile.column + SG);
                for (var i = 0u; i < MOST; i++) {
                    if (i < ROWS) {
                        let a4 = subgroupShuffle(mine[i], t);
                        sums[i] += b4 * a4;
                        wide_sums[i] += wide_b4 * a4;
                    }
                }
            } else {
                for (var i = 0u; i < MOST; i++) {
                    if (i < ROWS) { sums[i] += b4 * subgroupShuffle(mine[i], t); }
                }
            }
        }
    }
}

@compute @workgroup_size(SG)
fn product(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(id.x + id.y * groups.x, lane);
    if (!tile.live) { return; }
    accumulate(tile, lane);
    let width = params.n / 4;
    let at = (tile.z * params.m + tile.row) * width + tile.column;
    for (var i = 0u; i < MOST; i++) {
        if (i < ROWS && tile.row + i < params.m) {
            if (tile.column < width) { c[at + i * width] = sums[i]; }
            if (WIDE && tile.column + SG < width) { c[at + i * width + SG] = wide_sums[i]; }
        }
    }
}

@compute @workgroup_size(SG)
fn product_bias(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u,
                @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(id.x + id.y * groups.x, lane);
    if (!tile.live) { return; }
    accumulate(tile, lane);
    let width = params.n / 4;
    let at = (tile.z * params.m + tile.row) * width + tile.column;
    let shift = bias[min(tile.column, width - 1)];
    let wide_shift = bias[min(tile.column + SG, width - 1)];
    for (var i = 0u; i < MOST; i++) {
        if (i < ROWS && tile.row + i < params.m) {
            if (tile.column < width) { c[at + i * width] = sums[i] + shift; }
            if (WIDE && tile.column + SG < width) { c[at + i * width + SG] = wide_sums[i] + wide_shift; }
        }
    }
}

@compute @workgroup_size(SG)
fn product_bias_activation(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u,
                           @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(id.x + id.y * groups.x, lane);
    if (!tile.live) { return; }
    accumulate(tile, lane);
    let width = params.n / 4;
    let at = (tile.z * params.m + tile.row) * width + tile.column;
    let shift = bias[min(tile.column, width - 1)];
    let wide_shift = bias[min(tile.column + SG, width - 1)];
    for (var i = 0u; i < MOST; i++) {
        if (i < ROWS && tile.row + i < params.m) {
            if (tile.column < width) {
                let value = sums[i] + shift;
                pre[at + i * width] = value;
                c[at + i * width] = activate(ACTIVATION, value);
            }
            if (WIDE && tile.column + SG < width) {
                let value = wide_sums[i] + wide_shift;
                pre[at + i * width + SG] = value;
                c[at + i * width + SG] = activate(ACTIVATION, value);
            }
        }
    }
}
