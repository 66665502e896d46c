// ema: exponential moving average of parameters, in place
//   average = average + (1 - decay) * (p - average)
// Nothing changes if verdict.take is 0.
//
//   step   average[n], p[n], verdict[8], decay[1] -> average
//
// Four elements an invocation, grid-stride. Padding of parameters is averaged like parameters.

struct Params { n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> average: array<vec4f>;  // [n]
@group(0) @binding(2) var<storage, read> p: array<vec4f>;              // [n]
@group(0) @binding(3) var<storage, read> verdict: Verdict;             // [8]
@group(0) @binding(4) var<uniform> decay: vec4f;                       // [1], in x

override WG: u32 = 256;

@compute @workgroup_size(WG)
fn step(@builtin(global_invocation_id) gid: vec3u, @builtin(num_workgroups) groups: vec3u) {
    if verdict.take == 0 {
        return;
    }
    for (var i = gid.x; i < params.n / 4; i += groups.x * WG) {
        average[i] += (1.0 - decay.x) * (p[i] - average[i]);
    }
}
