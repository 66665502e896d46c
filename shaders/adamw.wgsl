// adamw: one step of AdamW on parameters p with gradients g, in place; without weight decay it is
// Adam
//   g = verdict.factor * g
//   p = p * (1 - lr * weight_decay), where `filled` says that p decays
//   m = beta1 * m + (1 - beta1) * g,  v = beta2 * v + (1 - beta2) * g * g
//   p = p - lr / correction1 * m / (sqrt(v) / sqrt(correction2) + eps)
//   correction = 1 - beta^t after t steps
// Nothing changes if verdict.take is 0.
//
//   step   p[n], g[n], m[n], v[n], filled[n / 64], verdict[8], rate[1] -> p, m, v
//
// One dispatch updates many parameters, each padded to blocks of 64 elements: the first filled %
// 256 elements of a block are trained, the rest is padding; the block decays if filled >= 256. Four
// elements an invocation, grid-stride.

// rest = 1 - beta
struct Params { n: u32, beta1: f32, beta2: f32, rest1: f32, rest2: f32, eps: f32, weight_decay: f32 }
// written by the host before every step
struct Rate { lr: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> p: array<vec4f>;        // [n]
@group(0) @binding(2) var<storage, read> g: array<vec4f>;              // [n]
@group(0) @binding(3) var<storage, read_write> m: array<vec4f>;        // [n]
@group(0) @binding(4) var<storage, read_write> v: array<vec4f>;        // [n]
@group(0) @binding(5) var<uniform> rate: Rate;                         // [1]
@group(0) @binding(6) var<storage, read> verdict: Verdict;             // [8]
@group(0) @binding(7) var<storage, read> filled: array<u32>;           // [n / 64]

override WG: u32 = 256;

// Which of the four elements are not padding.
fn inside(i: u32) -> vec4<bool> {
    return vec4u(4 * (i % 16)) + vec4u(0, 1, 2, 3) < vec4u(filled[i / 16] % 256);
}

fn step_at(i: u32) {
    // 0 in the padding, where m, v and p then stay 0
    let grad = select(vec4f(), verdict.factor * g[i], inside(i));
    // ANCHOR: step
    let first = params.beta1 * m[i] + params.rest1 * grad;
    let second = params.beta2 * v[i] + params.rest2 * grad * grad;
    m[i] = first;
    v[i] = second;
    let denominator = sqrt(second) / sqrt(verdict.correction2) + params.eps;
    let decay = select(0.0, params.weight_decay, filled[i / 16] >= 256);
    p[i] = p[i] * (1.0 - rate.lr * decay) - rate.lr / verdict.correction1 * first / denominator;
    // ANCHOR_END: step
}

@compute @workgroup_size(WG)
fn step(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    if verdict.take == 0 {
        return;
    }
    for (var i = gid.x; i < params.n / 4; i += groups.x * WG) {
        step_at(i);
    }
}
