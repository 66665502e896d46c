// What an attention reads as f32: queries, keys and values, and the gradient of its output. attention_f16.wgsl is the form
// for halves; the host picks one.

@group(0) @binding(1) var<storage, read> q: array<vec4f>;       // [b, tq, q_stride]
@group(0) @binding(2) var<storage, read> kv: array<vec4f>;      // [b, capacity, kv_stride]
@group(0) @binding(8) var<storage, read> dout: array<vec4f>;    // [b, tq, heads, HD4]

const APPENDS = false;

// Elements 4 at to 4 at + 3.
fn q_four(at: u32) -> vec4f { return q[at]; }
fn kv_four(at: u32) -> vec4f { return kv[at]; }
fn dout_four(at: u32) -> vec4f { return dout[at]; }
fn append_four(at: u32, value: vec4f) {}
