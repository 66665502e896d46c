//! Batches accumulated over several passes.

use super::{config, device, train};

#[test]
fn accumulation_equals_a_large_batch() {
    let device = device();
    let whole = train(&device, &config(0.0), 1, 6);
    for parts in [2, 8] {
        let run = train(&device, &config(0.0), parts, 6);
        for (whole, parts) in whole.losses.iter().zip(&run.losses) {
            assert!((whole - parts).abs() < 2e-5, "{whole} and {parts}");
        }
        for ((name, a), (_, b)) in whole.model.parameters().iter().zip(run.model.parameters()) {
            let (a, b) = (a.read::<f32>().unwrap(), b.read::<f32>().unwrap());
            // NaN is the largest in the total order, while f32::max ignores it
            let off = a
                .iter()
                .zip(&b)
                .map(|(a, b)| (a - b).abs())
                .max_by(f32::total_cmp)
                .unwrap();
            // Adam divides tiny gradients by their own size, so rounding may move a parameter by a
            // fraction of the rate
            assert!(off < 5e-4, "{name}: off by {off}");
        }
    }
}
