// Rows of packed weights, whose layout src/ops/encoding.rs describes: what the formats
// (packed_*.wgsl) have in common. Each defines
//   fn block_at(row: u32, block: u32) -> Block, the values of 32 columns of a row
// The kernel declares a uniform block `params` with
//   blocks      blocks of 32 columns in a row
//   row_quads   quads of words in a row

@group(0) @binding(1) var<storage, read> quads: array<vec4u>;  // [rows, row_quads]
@group(0) @binding(2) var<storage, read> words: array<u32>;    // the same memory, a word at a time

// 32 columns: four in each column of a matrix.
struct Block {
    low: mat4x4f,   // columns 0 to 15
    high: mat4x4f,  // columns 16 to 31
}

// Value of the half in the lower 16 bits. unpack2x16float may flush subnormal ones to zero, and
// with the scale of a block all its columns.
fn half_value(bits: u32) -> f32 {
    let magnitude = (bits & 0x7fffu) << 13;
    var value = magnitude + (112u << 23);
    // below 2^-14 halves are multiples of 2^-24
    value = select(value, bitcast<u32>(f32(bits & 0x3ffu) * 0x1p-24), magnitude < (1u << 23));
    value = select(value, magnitude + (224u << 23), magnitude >= (31u << 23));
    return bitcast<f32>(value | ((bits & 0x8000u) << 16));
}

// Half `at` of those from word `start` on.
fn half_at(start: u32, at: u32) -> f32 {
    return half_value(words[start + at / 2] >> (16 * (at % 2)));
}

// First word of a row, and the quad with the lower bits of a block of four bits.
fn first_word(row: u32) -> u32 { return 4 * row * params.row_quads; }
fn low_quad(row: u32, block: u32) -> vec4u { return quads[row * params.row_quads + block]; }

fn of_bytes(quad: vec4u) -> mat4x4f {
    return mat4x4f(
        vec4f(unpack4xU8(quad.x)),
        vec4f(unpack4xU8(quad.y)),
        vec4f(unpack4xU8(quad.z)),
        vec4f(unpack4xU8(quad.w)),
    );
}

fn of_signed_bytes(quad: vec4u) -> mat4x4f {
    return mat4x4f(
        vec4f(unpack4xI8(quad.x)),
        vec4f(unpack4xI8(quad.y)),
        vec4f(unpack4xI8(quad.z)),
        vec4f(unpack4xI8(quad.w)),
    );
}

// Quants of a block in bytes: columns 0 to 15, then 16 to 31.
struct Quants {
    low: vec4u,
    high: vec4u,
}

const NIBBLES = 0x0f0f0f0fu;

fn four_bits(row: u32, block: u32) -> Quants {
    let quad = low_quad(row, block);
    return Quants(quad & vec4u(NIBBLES), (quad >> vec4u(4)) & vec4u(NIBBLES));
}

fn five_bits(row: u32, block: u32) -> Quants {
    let upper = words[first_word(row) + 4 * params.blocks + block];
    let quants = four_bits(row, block);
    let bits = vec4u(0x01010101u);
    return Quants(
        quants.low | (((vec4u(upper) >> vec4u(0, 1, 2, 3)) & bits) << vec4u(4)),
        quants.high | (((vec4u(upper) >> vec4u(4, 5, 6, 7)) & bits) << vec4u(4)),
    );
}

// scale * quant + offset
fn scaled(quants: Quants, scale: f32, offset: f32) -> Block {
    let shift = vec4f(offset);
    let shifts = mat4x4f(shift, shift, shift, shift);
    return Block(of_bytes(quants.low) * scale + shifts, of_bytes(quants.high) * scale + shifts);
}

// Scale and minimum of a block of a K format, whose scales begin with word `start`, a multiple of
// four, of the row.
fn k_scale(row: u32, start: u32, block: u32) -> vec2f {
    let quad = quads[row * params.row_quads + start / 4 + block / 8];
    let at = block % 8;
    let scale = ((quad.y >> (4 * at)) & 15) | (((quad.w >> (2 * at)) & 3) << 4);
    let minimum = ((quad.z >> (4 * at)) & 15) | (((quad.w >> (16 + 2 * at)) & 3) << 4);
    return vec2f(half_value(quad.x) * f32(scale), half_value(quad.x >> 16) * f32(minimum));
}
