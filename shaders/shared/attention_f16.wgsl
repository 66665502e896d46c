// What an attention reads as halves, two in each u32: the other form of attention_f32.wgsl. A vec2u has the place that a
// vec4f has there, so rows and heads begin at the same indices.

@group(0) @binding(1) var<storage, read> q: array<vec2u>;       // [b, tq, q_stride]
@group(0) @binding(2) var<storage, read> kv: array<vec2u>;      // [b, capacity, kv_stride]
@group(0) @binding(8) var<storage, read> dout: array<vec2u>;    // [b, tq, heads, HD4]

const APPENDS = false;

// Elements 4 at to 4 at + 3.
fn q_four(at: u32) -> vec4f { return four(q[at]); }
fn kv_four(at: u32) -> vec4f { return four(kv[at]); }
fn dout_four(at: u32) -> vec4f { return four(dout[at]); }
fn append_four(at: u32, value: vec4f) {}
