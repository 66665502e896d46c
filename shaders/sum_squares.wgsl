// sum_squares: the sum of x[i] * x[i] over all i, in two stages
//
//   squares   x[n], filled[n / 64] -> partials[workgroups]: sums of x * x, each over a part of x;
//             in each block of 64 the first filled % 256 elements count, the rest is padding
//   sum       sums[n] -> result[1], one workgroup
//
// The invocations stride over the elements, four at a time in the first stage, then a reduction.

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;              // [n]
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;   // [workgroups]
@group(0) @binding(3) var<storage, read> sums: array<f32>;             // [n]
@group(0) @binding(4) var<storage, read_write> result: array<f32>;     // [1]
@group(0) @binding(5) var<storage, read> filled: array<u32>;           // [n / 64]

override WG: u32 = 256;

// Which of the four elements are not padding.
fn inside(i: u32) -> vec4<bool> {
    return vec4u(4 * (i % 16)) + vec4u(0, 1, 2, 3) < vec4u(filled[i / 16] % 256);
}

@compute @workgroup_size(WG)
fn squares(
    @builtin(global_invocation_id) gid: vec3u,
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    var sum = vec4f();
    for (var i = gid.x; i < params.n / 4; i += groups.x * WG) {
        let value = select(vec4f(), x[i], inside(i));
        sum += value * value;
    }
    let total = reduce_sum(lane, (sum.x + sum.y) + (sum.z + sum.w));
    if lane == 0 {
        partials[group.x] = total;
    }
}

@compute @workgroup_size(WG)
fn sum(@builtin(local_invocation_index) lane: u32) {
    var part = 0.0;
    for (var i = lane; i < params.n; i += WG) {
        part += sums[i];
    }
    let total = reduce_sum(lane, part);
    if lane == 0 {
        result[0] = total;
    }
}
