// embedding: y[i] = table[ids[i]]; ids past the last row of the table select the last row
//   dtable[r] = sum of dy[i] over the i with ids[i] = r, in ascending order
//
//   forward    table[rows, cols], ids[n] -> y[n, cols]; the table may hold rows first.. of one whose
//              last row is `last`, and y is 0 where another part of it is chosen
//   link       ids[n] -> links[chunks, rows + chunk]: within a chunk of ids, the first position of
//              each row, then for each position the next one of the same row; NONE if there is none
//   backward   dy[n, cols], links -> dtable[chunks, rows, cols]: follows the links of each row
//
// forward and backward: an invocation per element. link: an invocation per link, which scans ids
// until it finds the row. No invocation scans all ids for every row, and no atomics are needed.
// Grid-stride. cols counts `lanes`.

struct Params { n: u32, rows: u32, first: u32, last: u32, cols: u32, chunk: u32, chunks: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<lanes>;         // [rows, cols]
@group(0) @binding(2) var<storage, read> ids: array<u32>;             // [n]
@group(0) @binding(3) var<storage, read_write> y: array<lanes>;       // [n, cols]
@group(0) @binding(4) var<storage, read_write> links: array<u32>;     // [chunks, rows + chunk]
@group(0) @binding(5) var<storage, read> linked: array<u32>;          // [chunks, rows + chunk]
@group(0) @binding(6) var<storage, read> dy: array<lanes>;            // [n, cols]
@group(0) @binding(7) var<storage, read_write> dtable: array<lanes>;  // [chunks, rows, cols]

override WG: u32 = 256;

const NONE = 0xffffffffu;

fn row_at(i: u32) -> u32 {
    return min(ids[i], params.last) - params.first;
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.n * params.cols; i += groups.x * WG) {
        // of a row in front of the part, the difference is beyond it
        let row = row_at(i / params.cols);
        var value = lanes();
        if row < params.rows {
            value = table[row * params.cols + i % params.cols];
        }
        y[i] = value;
    }
}

@compute @workgroup_size(WG)
fn link(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let size = params.rows + params.chunk;
    for (var i = gid.x; i < params.chunks * size; i += groups.x * WG) {
        let first = i / size * params.chunk;
        let last = min(first + params.chunk, params.n);
        let slot = i % size;
        var row = slot;
        var at = first;
        if slot >= params.rows {
            at = first + slot - params.rows;
            row = row_at(min(at, params.n - 1));
            at++;
        }
        while at < last && row_at(at) != row {
            at++;
        }
        links[i] = select(NONE, at, at < last);
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = gid.x; i < params.chunks * params.rows * params.cols; i += groups.x * WG) {
        let chunk = i / (params.rows * params.cols);
        // links of this chunk's positions follow those of the rows
        let base = chunk * (params.rows + params.chunk);
        let places = base + params.rows - chunk * params.chunk;
        var sum = lanes();
        var at = linked[base + i / params.cols % params.rows];
        while at != NONE {
            sum += dy[at * params.cols + i % params.cols];
            at = linked[places + at];
        }
        dtable[i] = sum;
    }
}
