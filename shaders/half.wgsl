// half: rounds to halves, two in a u32, for kernels that read their operands at half the size
//   y[i] = half(x[2 i]) | half(x[2 i + 1]) << 16
//
//   forward   x[n] -> y[n / 2]
//
// Rounds to nearest, ties to even, subnormal halves included; values too large become infinite.
// The built-in conversion may round either way and SwiftShader's turns infinity into NaN, so it is
// given only values that it need not round. Four elements an invocation, grid-stride.

struct Params {
    n: u32, // fours, the last one padded
}

override WG: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;           // [n]
@group(0) @binding(2) var<storage, read_write> y: array<vec2u>;     // [n]

fn rounded(v: vec4f) -> vec4f {
    let bits = bitcast<vec4u>(v);
    let magnitude = bits & vec4u(0x7fffffff);
    // drops 13 bits of the mantissa; a carry goes into the exponent, as it should
    let normal = bitcast<vec4f>((bits + 0xfff + ((bits >> vec4u(13)) & vec4u(1))) & vec4u(0xffffe000));
    // below 2^-14 halves are multiples of 2^-24
    let small = round(v * 0x1p24) * 0x1p-24;
    // infinite from 65520 on; infinity and NaN stay
    let infinite = bitcast<vec4f>((bits & vec4u(0x80000000)) | vec4u(0x7f800000));
    var result = select(normal, small, magnitude < vec4u(0x38800000));
    result = select(result, infinite, magnitude >= vec4u(0x477ff000));
    return select(result, v, magnitude >= vec4u(0x7f800000));
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < params.n; i += groups.x * WG) {
        let v = rounded(x[i]);
        let bits = bitcast<vec4u>(v);
        let infinite = (bits & vec4u(0x7fffffff)) == vec4u(0x7f800000);
        // a product, since GLSL 4.3 selects floats alone
        let ends = vec4u(infinite) * (((bits >> vec4u(16)) & vec4u(0x8000)) | vec4u(0x7c00));
        let rest = select(v, vec4f(), infinite);
        y[i] = vec2u(pack2x16float(rest.xy), pack2x16float(rest.zw)) | (ends.xz | (ends.yw << vec2u(16)));
    }
}
