//! Time of each dispatch.

use seemore::models::Model;
use seemore::train::TrainStep;

use super::{LENGTH, batch, config, device, optimizer};

#[test]
fn the_profile_covers_every_dispatch() {
    let device = device();
    let config = config(0.1);
    let model = Model::new(&device, &config, 3).unwrap();
    let optimizer = optimizer(&device, &model);
    let step = TrainStep::new(&device, &model, &optimizer, 8, LENGTH, 1).unwrap();
    step.run(&[batch(&config, 0..8)], 1, 1e-3, 0.0).unwrap();
    // tests need an adapter with timestamps, as lavapipe and GPUs have
    let timings = step.plan().profile().unwrap();
    let timings = timings.expect("the adapter measures the time of dispatches");
    assert_eq!(
        timings
            .iter()
            .map(|timing| timing.dispatches)
            .sum::<usize>(),
        step.plan().dispatches()
    );
    assert!(
        timings
            .iter()
            .any(|timing| timing.kernel.starts_with("matmul") && !timing.time.is_zero())
    );
    assert!(timings.is_sorted_by(|a, b| a.time >= b.time));
}
