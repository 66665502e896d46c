// What an attention reads that decodes: one new row of queries, keys and values, and the cache that its key and value are
// appended to on the way.

@group(0) @binding(1) var<storage, read> q: array<vec4f>;           // [b, 1, q_stride]: rows q | k | v
@group(0) @binding(2) var<storage, read_write> kv: array<vec4f>;    // [b, capacity, kv_stride]
@group(0) @binding(8) var<storage, read> dout: array<vec4f>;        // [b, 1, heads, HD4]

const APPENDS = true;

// Elements 4 at to 4 at + 3.
fn q_four(at: u32) -> vec4f { return q[at]; }
fn kv_four(at: u32) -> vec4f { return kv[at]; }
fn dout_four(at: u32) -> vec4f { return dout[at]; }
fn append_four(at: u32, value: vec4f) { kv[at] = value; }
