// unpack: rows of packed weights W[rows, cols] (shared/packed.wgsl) as f32
//
//   all      W -> y[rows, cols]
//   chosen   W, ids[n] -> y[n, cols]      y[i] = W[ids[i]]; ids past the last row select the last row.
//            W may be rows first.. of a table whose last row is `last`: y is 0 where another part is chosen
//
// An invocation per 32 columns of a row, grid-stride.

struct Params {
    n: u32,          // rows of y
    rows: u32,       // rows of W
    first: u32,      // row of the table that is W's first
    last: u32,       // last row of the table
    cols: u32,
    blocks: u32,     // of 32 columns in a row of W
    row_quads: u32,  // quads of words in a row of W
}

override WG: u32 = 256;
override FOURS: bool = true;  // whether cols is a multiple of 4

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> ids: array<u32>;         // [n]
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;   // [n, cols]

// Columns column..column + 3 of a row; those past the last stay unwritten.
fn store(row: u32, column: u32, value: vec4f) {
    let at = row * params.cols + column;
    if (FOURS) {
        if (column < params.cols) { y[at / 4] = value; }
        return;
    }
    if (column < params.cols) { y[at / 4][at % 4] = value.x; }
    if (column + 1 < params.cols) { y[(at + 1) / 4][(at + 1) % 4] = value.y; }
    if (column + 2 < params.cols) { y[(at + 2) / 4][(at + 2) % 4] = value.z; }
    if (column + 3 < params.cols) { y[(at + 3) / 4][(at + 3) % 4] = value.w; }
}

fn store_block(row: u32, block: u32, b: Block) {
    let column = 32 * block;
    store(row, column, b.low[0]);
    store(row, column + 4, b.low[1]);
    store(row, column + 8, b.low[2]);
    store(row, column + 12, b.low[3]);
    store(row, column + 16, b.high[0]);
    store(row, column + 20, b.high[1]);
    store(row, column + 24, b.high[2]);
    store(row, column + 28, b.high[3]);
}

@compute @workgroup_size(WG)
fn all(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.n * params.blocks; i += groups.x * WG) {
        let row = i / params.blocks;
        store_block(row, i % params.blocks, block_at(row, i % params.blocks));
    }
}

@compute @workgroup_size(WG)
fn chosen(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.n * params.blocks; i += groups.x * WG) {
        let row = i / params.blocks;
        // of a row in front of W, the difference is beyond it
        let source = min(ids[row], params.last) - params.first;
        var block = Block();
        if (source < params.rows) { block = block_at(source, i % params.blocks); }
        store_block(row, i % params.blocks, block);
    }
}
