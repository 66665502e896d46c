// matmul_shuffle: the product (shared/product.wgsl) for adapters whose subgroups have one small
// size and share a vector register file: in software Vulkan on a CPU a subgroup is a SIMD register.
//
// A workgroup is one subgroup of SG invocations and computes a tile of ROWS rows by COLUMNS times
// 4 SG columns. A lane owns four columns of each of the COLUMNS parts, and keeps their sums for all
// rows. In a step over four values of k it loads its four columns of B, and one vec4 of A for every
// SG rows of the tile; each vec4 of A then goes to all lanes by subgroupBroadcast, so that each
// element of A and of B is loaded once a tile. No workgroup memory, no barriers.
//
// The lane of a broadcast is a constant, which lavapipe turns into one instruction for any SG. A
// subgroupShuffle from a lane that varies is one only if SG is 8, and a loop over lanes otherwise.
//
// The loops over blocks and parts run over whole arrays with constant bounds so that a compiler
// unrolls them and the arrays become registers. A bounds check on the index stops that (4 times
// slower): make this module without runtime checks. Every load is clamped into its matrix and every
// store guarded.

override SG: u32 = 8;              // invocations in a subgroup: 4, 8 or 16
override WG: u32 = SG;
override ROWS: u32 = 32;           // rows a tile: 4, 8, ... 64
override COLUMNS: u32 = 1;         // vec4 columns a lane: 1 to 4
override TRANSPOSE_A: bool = false;
override TRANSPOSE_B: bool = false;
override ACTIVATION: u32 = 0;      // see shared/activation.wgsl

const BLOCKS: u32 = 16; // of four rows, at most
const PARTS: u32 = 4;   // COLUMNS, at most

// Lanes are counted by their place in the subgroup, which WGSL does not promise to be that in the
// workgroup.
struct Invocation {
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(subgroup_invocation_id) lane: u32,
}

// Of every block of four rows, this lane's four columns of every part: row i in column i of the
// matrix.
var<private> sums: array<array<mat4x4f, BLOCKS>, PARTS>;

// This lane's vec4 of the SG rows of op(A) from `row` on, at k..k + 3: of A a row of its own, of Aᵀ
// four rows at one k.
fn load_share(start: u32, row: u32, k: u32, k_end: u32, lane: u32) -> vec4f {
    if (TRANSPOSE_A) {
        let at = k + lane % 4;
        let v = a_row(start + min(at, params.k - 1) * params.m, row + lane / 4 * 4, params.m);
        return select(vec4f(), v, at < k_end);
    }
    return a_along_k(start + min(row + lane, params.m - 1) * params.k, k, k_end);
}

// Four rows of op(A), one in each column of the result, from the lanes 4 block to 4 block + 3.
fn broadcast_rows(v: vec4f, block: u32) -> mat4x4f {
    var rows: mat4x4f;
    if (block == 0) {
        rows = mat4x4f(subgroupBroadcast(v, 0u), subgroupBroadcast(v, 1u), subgroupBroadcast(v, 2u), subgroupBroadcast(v, 3u));
    } else if (block == 1) {
        rows = mat4x4f(subgroupBroadcast(v, 4u), subgroupBroadcast(v, 5u), subgroupBroadcast(v, 6u), subgroupBroadcast(v, 7u));
    } else if (block == 2) {
        rows = mat4x4f(subgroupBroadcast(v, 8u), subgroupBroadcast(v, 9u), subgroupBroadcast(v, 10u), subgroupBroadcast(v, 11u));
    } else {
        rows = mat4x4f(subgroupBroadcast(v, 12u), subgroupBroadcast(v, 13u), subgroupBroadcast(v, 14u), subgroupBroadcast(v, 15u));
    }
    if (TRANSPOSE_A) { return transpose(rows); }
    return rows;
}

fn accumulate(tile: Tile, column: u32, lane: u32) {
    let span = span_of(tile);
    for (var part = 0u; part < PARTS; part++) {
        for (var i = 0u; i < BLOCKS; i++) { sums[part][i] = mat4x4f(); }
    }
    var shares: array<vec4f, BLOCKS>;
    var b4: array<mat4x4f, PARTS>;
    for (var k = span.k_begin; k < span.k_end; k += 4) {
        for (var i = 0u; i < BLOCKS; i++) {
            if (i * SG < ROWS) { shares[i] = load_share(span.a, tile.row + i * SG, k, span.k_end, lane); }
        }
        for (var part = 0u; part < PARTS; part++) {
            if (part < COLUMNS) { b4[part] = load_b(span.b, k, column + part * 4 * SG); }
        }
        for (var i = 0u; i < BLOCKS; i++) {
            if (4 * i < ROWS) {
                let a4 = broadcast_rows(shares[4 * i / SG], i % (SG / 4));
                for (var part = 0u; part < PARTS; part++) {
                    if (part < COLUMNS) { sums[part][i] += b4[part] * a4; }
                }
            }
        }
    }
}

fn compute(at: Invocation) {
    let tile = tile_of(at.group.x + at.group.y * at.groups.x, ROWS, COLUMNS * 4 * SG);
    if (!tile.live) { return; }
    accumulate(tile, tile.column + 4 * at.lane, at.lane);
    for (var part = 0u; part < PARTS; part++) {
        if (part < COLUMNS) {
            let column = tile.column + 4 * at.lane + part * 4 * SG;
            let shift = shift_of(column);
            for (var i = 0u; i < BLOCKS; i++) {
                if (4 * i < ROWS) { finish_block(tile.z, tile.row + 4 * i, column, sums[part][i], shift); }
            }
        }
    }
}
