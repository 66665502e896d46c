// adamw_8bit: one step of AdamW, as adamw.wgsl, with moments kept in 8 bits, block by block
// (Dettmers et al. 2022, arXiv:2110.02861)
//   m = sign(q) * (|q| / 127)^2 * largest |m| of the block,  q = -127 .. 127
//   v = (q / 255)^4 * largest v of the block,                q = 0 .. 255
// The powers give small moments codes of their own. Codes are rounded up or down at random, so that
// the mean of what is kept is the moment: the change of v in a step is smaller than the distance of
// two codes. The parameters change by the moments before they are rounded.
//
//   step   p[n], g[n], m[n / 64, 17], v[n / 64, 17], filled[n / 64], verdict[8], rate[1] -> p, m, v
//
// A row of m and v: four codes in each of 16 words, and the bits of the largest value. Workgroups of
// 256, of which 16 invocations step a block of 64 elements; a loop over blocks of 16 rows.

// rest = 1 - beta
struct Params { n: u32, beta1: f32, beta2: f32, rest1: f32, rest2: f32, eps: f32, weight_decay: f32 }
// written by the host before every step
struct Rate { lr: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> p: array<vec4f>;        // [n]
@group(0) @binding(2) var<storage, read> g: array<vec4f>;              // [n]
@group(0) @binding(3) var<storage, read_write> m: array<u32>;          // [n / 64, 17]
@group(0) @binding(4) var<storage, read_write> v: array<u32>;          // [n / 64, 17]
@group(0) @binding(5) var<uniform> rate: Rate;                         // [1]
@group(0) @binding(6) var<storage, read> verdict: Verdict;             // [8]
@group(0) @binding(7) var<storage, read> filled: array<u32>;           // [n / 64]

const WG: u32 = 256;
const LANES: u32 = 16;
const ROW: u32 = 17;

var<workgroup> firsts: array<f32, 256>;
var<workgroup> seconds: array<f32, 256>;

// Which of the four elements are not padding.
fn inside(block: u32, lane: u32) -> vec4<bool> {
    return vec4u(4 * lane) + vec4u(0, 1, 2, 3) < vec4u(filled[block] % 256);
}

fn bytes(word: u32) -> vec4u {
    return (vec4u(word) >> vec4u(0, 8, 16, 24)) & vec4u(255);
}

fn word(bytes: vec4u) -> u32 {
    let parts = (bytes & vec4u(255)) << vec4u(0, 8, 16, 24);
    return parts.x | parts.y | parts.z | parts.w;
}

// In 0 to 1, by the element, the step and the moment.
fn chance(element: u32, salt: u32) -> f32 {
    var bits = element * 747796405u + verdict.taken * 2891336453u + salt;
    bits = (bits ^ (bits >> 16)) * 0x7feb352du;
    bits = (bits ^ (bits >> 15)) * 0x846ca68bu;
    return f32((bits ^ (bits >> 16)) >> 8) / 16777216.0;
}

// Codes of parts = |m| / largest.
fn first_codes(parts: vec4f, element: u32) -> vec4u {
    let x = 127.0 * sqrt(parts);
    let low = min(floor(x), vec4f(126));
    let up = (x * x - low * low) / (2.0 * low + 1.0);
    let random = vec4f(chance(element, 1), chance(element + 1, 1), chance(element + 2, 1), chance(element + 3, 1));
    return vec4u(low) + select(vec4u(0), vec4u(1), random < up);
}

// Codes of parts = v / largest.
fn second_codes(parts: vec4f, element: u32) -> vec4u {
    let x = 255.0 * sqrt(sqrt(parts));
    let low = min(floor(x), vec4f(254));
    let next = low + 1.0;
    let below = low * low * low * low;
    let up = (x * x * x * x - below) / (next * next * next * next - below);
    let random = vec4f(chance(element, 2), chance(element + 1, 2), chance(element + 2, 2), chance(element + 3, 2));
    return vec4u(low) + select(vec4u(0), vec4u(1), random < up);
}

@compute @workgroup_size(WG)
fn step(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
    let lane = local % LANES;
    let all = params.n / 64;
    // every invocation of a workgroup takes part in the barriers
    let rounds = (all + groups.x * LANES - 1) / (groups.x * LANES);
    for (var round = 0u; round < rounds; round++) {
        let block = (round * groups.x + group.x) * LANES + local / LANES;
        let here = block < all && verdict.take != 0;
        let at = ROW * block + lane;
        let i = LANES * block + lane;
        var first = vec4f();
        var second = vec4f();
        if here {
            // 0 in the padding, where m, v and p then stay 0
            let grad = select(vec4f(), verdict.factor * g[i], inside(block, lane));
            let q = vec4f((bitcast<vec4i>(bytes(m[at])) << vec4u(24)) >> vec4u(24)) / 127.0;
            let r = vec4f(bytes(v[at])) / 255.0;
            let largest_m = bitcast<f32>(m[ROW * block + LANES]);
            let largest_v = bitcast<f32>(v[ROW * block + LANES]);
            first = params.beta1 * (q * abs(q) * largest_m) + params.rest1 * grad;
            second = params.beta2 * (r * r * r * r * largest_v) + params.rest2 * grad * grad;
        }
        let sizes = abs(first);
        firsts[local] = max(max(sizes.x, sizes.y), max(sizes.z, sizes.w));
        seconds[local] = max(max(second.x, second.y), max(second.z, second.w));
        workgroupBarrier();
        var largest_m = 0.0;
        var largest_v = 0.0;
        for (var other = 0u; other < LANES; other++) {
            largest_m = max(largest_m, firsts[local - lane + other]);
            largest_v = max(largest_v, seconds[local - lane + other]);
        }
        workgroupBarrier();
        if here {
            let denominator = sqrt(second) / sqrt(verdict.correction2) + params.eps;
            let decay = select(0.0, params.weight_decay, filled[block] >= 256);
            p[i] = p[i] * (1.0 - rate.lr * decay) - rate.lr / verdict.correction1 * first / denominator;
            let parts_m = select(vec4f(), sizes / largest_m, vec4<bool>(largest_m > 0.0));
            let parts_v = select(vec4f(), second / largest_v, vec4<bool>(largest_v > 0.0));
            let codes = first_codes(parts_m, 4 * i);
            m[at] = word(select(codes, ~codes + 1, first < vec4f()));
            v[at] = word(second_codes(parts_v, 4 * i));
            if lane == 0 {
                m[ROW * block + LANES] = bitcast<u32>(largest_m);
                v[ROW * block + LANES] = bitcast<u32>(largest_v);
            }
        }
    }
}
