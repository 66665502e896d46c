//! Numbers recorded of the real models, in `tests/golden/hf/real`.

use std::path::Path;

use serde_json::Value;

use crate::golden;

/// Largest difference of a number, as a share of the largest magnitude beside it.
pub const TOLERANCE: f32 = 1e-4;

/// Reads a file of recorded numbers.
#[track_caller]
pub fn open(name: &str) -> Value {
    golden::json(Path::new("tests/golden/hf/real").join(name))
}

/// Returns the numbers of a JSON list.
#[track_caller]
pub fn floats(list: &Value) -> Vec<f32> {
    let number = |value: &Value| match value.as_f64() {
        Some(number) => number as f32,
        None => panic!("not a number: {value}"),
    };
    golden::list(list).iter().map(number).collect()
}

/// Returns the ids of a JSON list.
#[track_caller]
pub fn ids(list: &Value) -> Vec<u32> {
    let ids = golden::list(list).iter().map(golden::size);
    ids.map(|id| id as u32).collect()
}

/// Holds numbers against recorded ones: `tolerance` of the largest magnitude off.
#[track_caller]
pub fn hold(name: &str, got: &[f32], want: &[f32], tolerance: f32) {
    let largest = want.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    golden::close(name, got, want, tolerance * largest);
}

/// Holds numbers of very different sizes: each is at most `tolerance` of itself off.
#[track_caller]
pub fn hold_each(name: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{name}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let off = (got - want).abs();
        assert!(
            off <= tolerance * want.abs(),
            "{name}, number {i}: {got} is not {want}"
        );
    }
}

/// Euclidean norm.
pub fn norm(values: &[f32]) -> f32 {
    let squares = values.iter().map(|&x| f64::from(x) * f64::from(x));
    squares.sum::<f64>().sqrt() as f32
}

/// Cosine of the angle between two vectors.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
    (products.sum::<f64>() / (f64::from(norm(a)) * f64::from(norm(b)))) as f32
}
