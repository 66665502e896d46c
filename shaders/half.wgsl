// Numbers as halves, two in a u32: half the bytes for a kernel to read.
//
//   forward  (x -> y)    y[i] = (half(x[2 i]), half(x[2 i + 1]))
//
// To nearest, ties to even, subnormal halves included; what is too large becomes infinite. The
// built-in conversion may round as the driver likes, so it is given only what it need not round;
// nor is it given infinity, of which SwiftShader makes NaN. One invocation takes four numbers, and
// strides.

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
    // 13 bits less of the mantissa; a carry goes into the exponent, as it should
    let normal = bitcast<vec4f>((bits + 0xfff + ((bits >> vec4u(13)) & vec4u(1))) & vec4u(0xffffe000));
    // below 2^-14 halves are multiples of 2^-24
    let small = round(v * 0x1p24) * 0x1p-24;
    // from 65520 on infinite, and infinity and NaN as they are
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
        let ends = select(vec4u(), ((bits >> vec4u(16)) & vec4u(0x8000)) | vec4u(0x7c00), infinite);
        let rest = select(v, vec4f(), infinite);
        y[i] = vec2u(pack2x16float(rest.xy), pack2x16float(rest.zw)) | (ends.xz | (ends.yw << vec2u(16)));
    }
}
