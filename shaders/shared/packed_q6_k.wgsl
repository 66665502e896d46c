// Packed weights in Q6_K: d * scale * (q - 32), with a scale every 16 columns.

fn six_bits(row: u32, block: u32) -> Quants {
    let at = first_word(row) + 4 * params.blocks + 2 * block;
    let quants = four_bits(row, block);
    let bits = vec4u(0x03030303u);
    return Quants(
        quants.low | (((vec4u(words[at]) >> vec4u(0, 2, 4, 6)) & bits) << vec4u(4)),
        quants.high | (((vec4u(words[at + 1]) >> vec4u(0, 2, 4, 6)) & bits) << vec4u(4)),
    );
}

fn block_at(row: u32, block: u32) -> Block {
    let start = first_word(row) + 6 * params.blocks;
    let factors = vec4f(unpack4xI8(words[start + block / 2] >> (16 * (block % 2))));
    let scales = half_at(start + params.blocks / 2, block / 8) * factors.xy;
    let quants = six_bits(row, block);
    let zero = vec4f(-32);
    let shift = mat4x4f(zero, zero, zero, zero);
    return Block((of_bytes(quants.low) + shift) * scales.x, (of_bytes(quants.high) + shift) * scales.y);
}
