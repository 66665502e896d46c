// Operands of a matrix product as f32. operands_f16.wgsl is for halves; the host picks one.

@group(0) @binding(1) var<storage, read> a: array<vec4f>;  // [batch, m, k], or [batch, k, m] with TRANSPOSE_A
@group(0) @binding(2) var<storage, read> b: array<vec4f>;  // [batch, k, n], or [batch, n, k] with TRANSPOSE_B

// Elements 4 at to 4 at + 3.
fn a_four(at: u32) -> vec4f { return a[at]; }
fn b_four(at: u32) -> vec4f { return b[at]; }

// Element at.
fn a_one(at: u32) -> f32 { return a[at / 4][at % 4]; }
fn b_one(at: u32) -> f32 { return b[at / 4][at % 4]; }
