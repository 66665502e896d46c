// Unpacks four halves, two in each u32. Needs no 16-bit types, so it runs on every adapter.
fn four(halves: vec2u) -> vec4f { return vec4f(unpack2x16float(halves.x), unpack2x16float(halves.y)); }
