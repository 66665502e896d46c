// argmax: y[r] = column of the largest x[r, c], the lowest column of equal ones
//
//   forward   x[rows, cols] -> y[rows]
//
// A workgroup per row, its invocations stride over the columns. cols counts `lanes`.

struct Params { rows: u32, cols: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<lanes>;       // [rows, cols]
@group(0) @binding(2) var<storage, read_write> y: array<u32>;   // [rows]

override WG: u32 = 64;

@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = group.x + group.y * groups.x;
    // a row past the last has no columns
    let columns = select(0, params.cols, row < params.rows);

    // column 0 is the answer for a row of minus infinity
    var best = pick(x[min(row, params.rows - 1) * params.cols], 0);
    var column = 0u;
    for (var i = lane; i < columns; i += WG) {
        let v = x[row * params.cols + i];
        for (var k = 0u; k < LANES; k++) {
            let value = pick(v, k);
            if value > best {
                best = value;
                column = i * LANES + k;
            }
        }
    }
    let peak = reduce_max(lane, best);
    // column numbers are exact in f32 up to 2^24
    let lowest = -reduce_max(lane, select(-3.4028234e38, -f32(column), best == peak));
    if lane == 0 && row < params.rows {
        y[row] = min(u32(lowest), params.cols * LANES - 1);
    }
}
