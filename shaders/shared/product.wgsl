// Matrix products: what the variants (matmul_*.wgsl) have in common. Each variant defines
//   struct Invocation     builtins of its entry points
//   WG                    workgroup size
//   TRANSPOSE_A, TRANSPOSE_B, ACTIVATION: overrides, declared there because naga 30 needs all
//     overrides to precede workgroup arrays with a size that depends on one
//   fn compute(at: Invocation), which adds up a tile of op(A[z]) · op(B[z]) and passes every result
//     to an epilogue
// and is completed by one epilogue (product_*.wgsl), which has the entry point.
//
//   a     [batch, m, k], or [batch, k, m] with TRANSPOSE_A
//   b     [batch, k, n], or [batch, n, k] with TRANSPOSE_B
//   c     [batch, splits, m, n]
//
// Split s adds up only k in [s k_chunk, (s + 1) k_chunk); the host sums the splits. k_chunk is a
// multiple of 4 and at most 32,768: some drivers end every loop after 65,535 rounds. The grid is
// batch * splits * (tiles of c) workgroups, column tiles fastest, folded over x and y by the host.

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

@group(0) @binding(0) var<uniform> params: Params;

const NEXT = vec4u(0, 1, 2, 3);

// A tile of c.
struct Tile {
    z: u32,       // batch * splits + split
    row: u32,     // first row
    column: u32,  // first column
    live: bool,   // false in the workgroups added by folding the grid
}

// The tile of a workgroup, where tiles have the given size.
fn tile_of(workgroup: u32, rows: u32, columns: u32) -> Tile {
    let across = (params.n + columns - 1) / columns;
    let down = (params.m + rows - 1) / rows;
    let z = workgroup / across / down;
    return Tile(z, workgroup / across % down * rows, workgroup % across * columns, z < params.batch * params.splits);
}

// Operands of a tile: first elements of its matrices, and the range of k of its split, empty unless
// the tile is live.
struct Span {
    a: u32,
    b: u32,
    k_begin: u32,
    k_end: u32,
}

fn span_of(tile: Tile) -> Span {
    let item = min(tile.z / params.splits, params.batch - 1);
    let k_begin = tile.z % params.splits * params.k_chunk;
    let k_end = select(0, min(k_begin + params.k_chunk, params.k), tile.live);
    return Span(item * params.a_stride, item * params.b_stride, k_begin, k_end);
}
