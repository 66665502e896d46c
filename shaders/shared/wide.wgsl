// Rows read four elements at a time, for row lengths that are multiples of four. narrow.wgsl is for
// other lengths; the host picks one (src/ops/vector_width.rs).

alias lanes = vec4f;
const LANES = 4u;

fn total(v: lanes) -> f32 { return (v.x + v.y) + (v.z + v.w); }
fn largest(v: lanes) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
fn pick(v: lanes, k: u32) -> f32 { return v[k]; }
// 1 for column `column` of a row, 0 for others; these lanes start at column LANES * unit
fn onehot(unit: u32, column: u32) -> lanes { return lanes(vec4u(4 * unit) + vec4u(0, 1, 2, 3) == vec4u(column)); }
// the first LANES of four elements
fn join(a: f32, b: f32, c: f32, d: f32) -> lanes { return lanes(a, b, c, d); }
