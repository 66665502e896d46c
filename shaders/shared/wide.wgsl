// Rows seen four elements at a time, for kernels whose rows may have any length. narrow.wgsl is the form for lengths that
// four does not divide; the host picks one (src/ops/lanes.rs).

alias lanes = vec4f;
const LANES = 4u;

fn total(v: lanes) -> f32 { return (v.x + v.y) + (v.z + v.w); }
fn largest(v: lanes) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
fn pick(v: lanes, k: u32) -> f32 { return v[k]; }
// 1 where the element of a row is number `column`, the first of these lanes being number LANES * unit; 0 elsewhere
fn onehot(unit: u32, column: u32) -> lanes { return lanes(vec4u(4 * unit) + vec4u(0, 1, 2, 3) == vec4u(column)); }
// the lanes of up to four elements, as many of the first as there are lanes
fn join(a: f32, b: f32, c: f32, d: f32) -> lanes { return lanes(a, b, c, d); }
