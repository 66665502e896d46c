// Rows read one element at a time, for rows of any length. wide.wgsl reads four.

alias lanes = f32;
const LANES = 1u;

fn total(v: lanes) -> f32 { return v; }
fn largest(v: lanes) -> f32 { return v; }
fn pick(v: lanes, k: u32) -> f32 { return v; }
fn onehot(unit: u32, column: u32) -> lanes { return lanes(unit == column); }
fn join(a: f32, b: f32, c: f32, d: f32) -> lanes { return a; }
