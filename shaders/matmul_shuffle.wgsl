// matmul_shuffle: the product (shared/product.wgsl) for adapters whose subgroups have one small
// size and share a vector register file: in software Vulkan on a CPU a subgroup is a SIMD register.
//
// Everything is read and written as vec4, so the last dimension of a, b and c must be divisible by
// 4:
//   A · B    needs k and n,      A · Bᵀ   needs k and n,
//   Aᵀ · B   needs m and n,      Aᵀ · Bᵀ  needs m, n and k.
// Sizes not named here are arbitrary. The device needs subgroups of exactly SG invocations.
//
// A workgroup is one subgroup and computes a tile of ROWS rows by 4 SG columns (8 SG with WIDE). A
// lane owns four columns (four more with WIDE) and keeps ROWS sums of vec4 in registers. It loads,
// for every row of the tile, the four values of k that are its own; the lanes then take turns, lane
// t handing its values to all by subgroupShuffle, so that each element of A and of B is loaded once
// a tile. No workgroup memory, no barriers.
//
// The loops over rows run over whole arrays with constant bounds so that a compiler unrolls them
// and the arrays become registers. A bounds check on the index stops that (4 times slower): make
// this module without runtime checks. Every load is clamped into its matrix and every store guarded
// here.

override SG: u32 = 8;              // invocations in a subgroup
override WG: u32 = SG;
override ROWS: u32 = 32;           // rows a tile: 4, 8, ... 32
override WIDE: bool = false;       // two vec4 columns a lane
override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override ACTIVATION: u32 = 0;      // see shared/activation.wgsl

const MOST: u32 = 32;

@group(0) @binding(3) var<storage, read> bias: array<vec4f>;       // [n]
@group(0) @binding(4) var<storage, read_write> pre: array<vec4f>;  // [batch, m, n]
@group(0) @binding(5) var<storage, read_write> c: array<vec4f>;    // [batch, splits, m, n]

// Shuffles count invocations by their place in the subgroup, which WGSL does not promise to be that
// in the workgroup.
struct Invocation {
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(subgroup_invocation_id) lane: u32,
}

var<private> sums: array<vec4f, MOST>;       // this lane's columns of the tile
var<private> wide_sums: array<vec4f, MOST>;  // with WIDE the other four, 4 SG further

// Rows k..k+3 of op(b), four columns: b4 * vec4(op(a)[i, k..k+3]) is what they add to row i.
fn load_b(start: u32, k: u32, column: u32) -> mat4x4f {
    let at_column = min(column, params.n - 4) / 4;
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

fn accumulate(tile: Tile, column: u32, lane: u32) {
    let span = span_of(tile);
    let a_start = span.a / 4;
    let b_start = span.b / 4;
    for (var i = 0u; i < MOST; i++) { sums[i] = vec4f(); }
    for (var i = 0u; i < MOST; i++) { wide_sums[i] = vec4f(); }

    var mine: array<vec4f, MOST>; // of every row, the four values of k that this lane hands out
    for (var k = span.k_begin; k < span.k_end; k += 4 * SG) {
        let my_k = k + 4 * lane;
        for (var i = 0u; i < MOST; i++) {
            if (i < ROWS && !TRANSPOSE_A) {
                let row = min(tile.row + i, params.m - 1);
                mine[i] = a_four(a_start + row * (params.k / 4) + min(my_k, params.k - 4) / 4);
            }
            if (i < ROWS && TRANSPOSE_A && i % 4 == 0) {
                let v0 = load_a_transposed(a_start, my_k, tile.row + i, span.k_end);
                let v1 = load_a_transposed(a_start, my_k + 1, tile.row + i, span.k_end);
                let v2 = load_a_transposed(a_start, my_k + 2, tile.row + i, span.k_end);
                let v3 = load_a_transposed(a_start, my_k + 3, tile.row + i, span.k_end);
                mine[i] = vec4f(v0.x, v1.x, v2.x, v3.x);
                mine[i + 1] = vec4f(v0.y, v1.y, v2.y, v3.y);
                mine[i + 2] = vec4f(v0.z, v1.z, v2.z, v3.z);
                mine[i + 3] = vec4f(v0.w, v1.w, v2.w, v3.w);
            }
        }
        let turns = min(SG, (span.k_end - k + 3) / 4);
        for (var t = 0u; t < turns; t++) {
            let b4 = load_b(b_start, k + 4 * t, column);
            if (WIDE) {
                let wide_b4 = load_b(b_start, k + 4 * t, column + 4 * SG);
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

fn load_bias(column: u32) -> vec4f { return bias[min(column, params.n - 4) / 4]; }

// Four columns of a row of c[z], unless past n.
fn store(z: u32, row: u32, column: u32, value: vec4f) {
    if (column < params.n) { c[((z * params.m + row) * params.n + column) / 4] = value; }
}

fn store_pre(z: u32, row: u32, column: u32, value: vec4f) {
    if (column < params.n) { pre[((z * params.m + row) * params.n + column) / 4] = value; }
}

fn compute(at: Invocation) {
    let tile = tile_of(at.group.x + at.group.y * at.groups.x, ROWS, 4 * select(SG, 2 * SG, WIDE));
    if (!tile.live) { return; }
    let column = tile.column + 4 * at.lane;
    accumulate(tile, column, at.lane);
    let shift = shift_of(column);
    let wide_shift = shift_of(column + 4 * SG);
    for (var i = 0u; i < MOST; i++) {
        if (i < ROWS && tile.row + i < params.m) {
            finish(tile.z, tile.row + i, column, sums[i], shift);
            if (WIDE) { finish(tile.z, tile.row + i, column + 4 * SG, wide_sums[i], wide_shift); }
        }
    }
}
