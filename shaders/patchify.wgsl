// patchify: splits an image into square patches, each a row of elements in the order (channel, row,
// column); patches are row-major
//   y[b, (r, s), (c, i, j)] = image[b, c, r * patch + i, s * patch + j]
//
//   forward    image[batch, channels, height, width] -> y[batch, patches, channels * patch * patch]
//   backward   dy[batch, patches, channels * patch * patch]
//              -> dimage[batch, channels, height, width]
//
// An invocation per element of the result, grid-stride. Columns (width, patch_cols) count `lanes`.

struct Params { batch: u32, channels: u32, height: u32, width: u32, patch_rows: u32, patch_cols: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<lanes>;         // [batch, channels, height, width]
@group(0) @binding(2) var<storage, read_write> y: array<lanes>;       // [batch, patches, channels * patch * patch]
@group(0) @binding(3) var<storage, read> dy: array<lanes>;            // [batch, patches, channels * patch * patch]
@group(0) @binding(4) var<storage, read_write> dimage: array<lanes>;  // [batch, channels, height, width]

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var n = gid.x; n < params.batch * params.channels * params.height * params.width; n += groups.x * WG) {
        var rest = n;
        let j = rest % params.patch_cols;
        rest /= params.patch_cols;
        let i = rest % params.patch_rows;
        rest /= params.patch_rows;
        let c = rest % params.channels;
        rest /= params.channels;
        let s = rest % (params.width / params.patch_cols);
        rest /= params.width / params.patch_cols;
        let r = rest % (params.height / params.patch_rows);
        let b = rest / (params.height / params.patch_rows);
        let row = (b * params.channels + c) * params.height + r * params.patch_rows + i;
        y[n] = image[row * params.width + s * params.patch_cols + j];
    }
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var n = gid.x; n < params.batch * params.channels * params.height * params.width; n += groups.x * WG) {
        let col = n % params.width;
        let row = n / params.width % params.height;
        let c = n / params.width / params.height % params.channels;
        let b = n / params.width / params.height / params.channels;
        let across = params.width / params.patch_cols;
        let patches = params.height / params.patch_rows * across;
        let place = b * patches + row / params.patch_rows * across + col / params.patch_cols;
        let line = (place * params.channels + c) * params.patch_rows + row % params.patch_rows;
        dimage[n] = dy[line * params.patch_cols + col % params.patch_cols];
    }
}
