// Operands of a matrix product as halves, two in each u32, like operands_f32.wgsl for f32.
// Unpacking needs no 16-bit types, so it runs on every adapter.

@group(0) @binding(1) var<storage, read> a: array<vec2u>;  // [batch, m, k], or [batch, k, m] with TRANSPOSE_A
@group(0) @binding(2) var<storage, read> b: array<vec2u>;  // [batch, k, n], or [batch, n, k] with TRANSPOSE_B

// Elements 4 at to 4 at + 3.
fn a_four(at: u32) -> vec4f { return four(a[at]); }
fn b_four(at: u32) -> vec4f { return four(b[at]); }

fn one(halves: u32, at: u32) -> f32 {
    let pair = unpack2x16float(halves);
    return select(pair.x, pair.y, at % 2 == 1);
}

// Element at.
fn a_one(at: u32) -> f32 { return one(a[at / 4][at / 2 % 2], at); }
fn b_one(at: u32) -> f32 { return one(b[at / 4][at / 2 % 2], at); }
