//! Tests of the executor on a real adapter.

mod limits;

use super::*;
use crate::device::{Device, Plan, Tensor};

#[test]
fn a_lost_device_is_an_error_everywhere_and_never_a_panic() {
    let executor = pollster::block_on(WgpuExecutor::open("0")).unwrap();
    let lost = executor.0.clone();
    let device = Device::with_executor(Arc::new(executor));
    let mut tape = device.tape();
    let x = tape.input(&[8]);
    let y = tape.scale(x, 2.0);
    tape.hold(y);
    let plan = Plan::new(&device, tape).unwrap();
    let tensor = Tensor::new(&device, &[8], &[1.0f32; 8]).unwrap();
    plan.run().unwrap();
    lost.device.destroy();
    // a run only submits, and may not know yet
    let _ = plan.run();
    let error = plan.read::<f32>(y).err();
    assert!(
        matches!(&error, Some(DeviceError::Lost(_))),
        "{error:?} for a lost device"
    );
    assert!(tensor.read::<f32>().is_err() && device.wait().is_err() && plan.run().is_err());
}

#[test]
#[cfg(target_os = "linux")]
fn a_vulkan_driver_that_reports_memory_reports_some() {
    let executor = pollster::block_on(WgpuExecutor::open("0")).unwrap();
    let free = budget::vulkan(&executor.0.device);
    assert!(free.is_none_or(|bytes| bytes > 1 << 20));
}

#[test]
fn values_are_made_once_and_different_ones_in_parallel() {
    let values: Once<u32, usize> = Once::default();
    let made = AtomicU64::new(0);
    let both = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        for key in [0, 1, 0, 1] {
            let (values, made, both) = (&values, &made, &both);
            scope.spawn(move || {
                let got = values.get_or_make(key, || {
                    made.fetch_add(1, Ordering::Relaxed);
                    // passed only while the other key is being made, too
                    both.wait();
                    key as usize
                });
                assert_eq!(got, key as usize);
            });
        }
    });
    assert_eq!(made.into_inner(), 2);
}
