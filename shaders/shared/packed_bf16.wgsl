// Packed weights in BF16: two columns a word, each the upper half of an f32.

fn of_pairs(low: u32, high: u32) -> vec4f {
    return bitcast<vec4f>(vec4u(low << 16, low & 0xffff0000u, high << 16, high & 0xffff0000u));
}

fn of_halves(low: vec4u, high: vec4u) -> mat4x4f {
    return mat4x4f(of_pairs(low.x, low.y), of_pairs(low.z, low.w), of_pairs(high.x, high.y), of_pairs(high.z, high.w));
}

fn block_at(row: u32, block: u32) -> Block {
    let at = row * params.row_quads + 4 * block;
    return Block(of_halves(quads[at], quads[at + 1]), of_halves(quads[at + 2], quads[at + 3]));
}
