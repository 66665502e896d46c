// Packed weights in F16: two columns a word.

fn of_halves(low: vec4u, high: vec4u) -> mat4x4f {
    return mat4x4f(
        vec4f(unpack2x16float(low.x), unpack2x16float(low.y)),
        vec4f(unpack2x16float(low.z), unpack2x16float(low.w)),
        vec4f(unpack2x16float(high.x), unpack2x16float(high.y)),
        vec4f(unpack2x16float(high.z), unpack2x16float(high.w)),
    );
}

fn block_at(row: u32, block: u32) -> Block {
    let at = row * params.row_quads + 4 * block;
    return Block(of_halves(quads[at], quads[at + 1]), of_halves(quads[at + 2], quads[at + 3]));
}
