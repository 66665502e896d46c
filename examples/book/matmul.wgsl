// C = A B for square matrices of side n, a multiple of 32, in three steps from naive to fast.

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;          // [n, n]
@group(0) @binding(2) var<storage, read> b: array<f32>;          // [n, n]
@group(0) @binding(3) var<storage, read_write> c: array<f32>;    // [n, n]
@group(0) @binding(4) var<storage, read> b4: array<vec4f>;       // [n, n / 4]
@group(0) @binding(5) var<storage, read_write> c4: array<vec4f>; // [n, n / 4]

// ANCHOR: naive
// One element of C for each invocation: two loads for every multiplication.
@compute @workgroup_size(8, 8)
fn naive(@builtin(global_invocation_id) at: vec3u) {
    let n = params.n;
    var sum = 0.0;
    for (var k = 0u; k < n; k++) {
        sum += a[at.y * n + k] * b[k * n + at.x];
    }
    c[at.y * n + at.x] = sum;
}
// ANCHOR_END: naive

// ANCHOR: tiled
var<workgroup> a_tile: array<f32, 256>;
var<workgroup> b_tile: array<f32, 256>;

// Also one element each, but 256 invocations load a tile of A and of B together and share it.
@compute @workgroup_size(16, 16)
fn tiled(@builtin(global_invocation_id) at: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let n = params.n;
    let mine = local.y * 16 + local.x;
    var sum = 0.0;
    for (var k = 0u; k < n; k += 16u) {
        a_tile[mine] = a[at.y * n + k + local.x];
        b_tile[mine] = b[(k + local.y) * n + at.x];
        workgroupBarrier();
        for (var i = 0u; i < 16; i++) {
            sum += a_tile[local.y * 16 + i] * b_tile[i * 16 + local.x];
        }
        workgroupBarrier();
    }
    c[at.y * n + at.x] = sum;
}
// ANCHOR_END: tiled

// ANCHOR: blocks
// Eight rows by four columns of C for each invocation, in registers: a vec4 of B, loaded once, is
// used in eight rows.
@compute @workgroup_size(8)
fn blocks(@builtin(global_invocation_id) at: vec3u) {
    let n = params.n;
    let row = 8 * at.y;
    var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
    var s4 = vec4f(); var s5 = vec4f(); var s6 = vec4f(); var s7 = vec4f();
    for (var k = 0u; k < n; k++) {
        let right = b4[k * n / 4 + at.x];
        s0 += a[row * n + k] * right;
        s1 += a[(row + 1) * n + k] * right;
        s2 += a[(row + 2) * n + k] * right;
        s3 += a[(row + 3) * n + k] * right;
        s4 += a[(row + 4) * n + k] * right;
        s5 += a[(row + 5) * n + k] * right;
        s6 += a[(row + 6) * n + k] * right;
        s7 += a[(row + 7) * n + k] * right;
    }
    let out = row * n / 4 + at.x;
    c4[out] = s0;
    c4[out + n / 4] = s1;
    c4[out + n / 2] = s2;
    c4[out + 3 * n / 4] = s3;
    c4[out + n] = s4;
    c4[out + 5 * n / 4] = s5;
    c4[out + 3 * n / 2] = s6;
    c4[out + 7 * n / 4] = s7;
}
// ANCHOR_END: blocks
