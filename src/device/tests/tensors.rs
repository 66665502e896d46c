//! Tensors, failures and limits of a real device.

use crate::device::{Device, Plan, Tensor};

fn device() -> Device {
    Device::best().unwrap()
}

#[test]
fn an_unknown_adapter_lists_the_known_ones() {
    let Err(error) = Device::open(Some("no such adapter")) else {
        panic!("opened an adapter that does not exist")
    };
    let text = error.to_string();
    assert!(
        text.contains("no such adapter") && text.contains("0: "),
        "{text}"
    );
}

#[test]
fn a_tensor_reads_back_what_was_written() {
    let tensor = Tensor::new(&device(), &[3, 1], &[1.0f32, -2.0, 3.5]).unwrap();
    assert_eq!(tensor.read::<f32>().unwrap(), [1.0, -2.0, 3.5]);
    tensor.write(&[7u32, 8, 9]);
    assert_eq!(tensor.read::<u32>().unwrap(), [7, 8, 9]);
}

#[test]
fn a_part_shares_the_elements_of_its_tensor() {
    let whole = Tensor::new(&device(), &[70], &(0..70).collect::<Vec<u32>>()).unwrap();
    let part = whole.part(64, &[2, 3]);
    assert_eq!(part.read::<u32>().unwrap(), [64, 65, 66, 67, 68, 69]);
    part.write(&[1u32, 2, 3, 4, 5, 6]);
    assert_eq!(whole.read::<u32>().unwrap()[62..66], [62, 63, 1, 2]);
    let offset = |part: &Tensor, whole: &Tensor| part.reference().offset_in(whole.reference());
    assert_eq!(
        (
            offset(&part, &whole),
            offset(&whole, &part),
            offset(&part.part(1, &[2]), &whole)
        ),
        (Some(64), None, Some(65))
    );
    assert!(part.is_aligned() && !whole.part(1, &[4]).is_aligned());
}

#[test]
#[cfg(target_os = "linux")]
fn a_device_reports_its_free_memory() {
    assert!(device().free_memory().is_some_and(|bytes| bytes > 1 << 20));
}

#[test]
fn a_tensor_beyond_the_limit_is_an_error_that_names_its_shape() {
    let Err(error) = Tensor::zeros(&device(), &[1 << 20, 1 << 20]) else {
        panic!("4 TiB fitted")
    };
    assert!(error.to_string().contains("[1048576, 1048576]"), "{error}");
}

#[test]
fn dropped_tensors_are_freed() {
    let device = device();
    let tensor = Tensor::zeros(&device, &[64]).unwrap();
    let id = tensor.reference().id;
    assert!(device.allocation(id).is_some());
    drop(tensor);
    assert!(device.allocation(id).is_none());
}

#[test]
fn a_recorded_constant_is_there_from_the_first_run() {
    let device = device();
    let mut tape = device.tape();
    let x = tape.constant(&[1.0f32, 2.0, 4.0]);
    let y = tape.scale(x, 0.5);
    tape.hold(y);
    let plan = Plan::new(&device, tape).unwrap();
    assert_eq!(plan.run_and_read::<f32>(y).unwrap(), [0.5, 1.0, 2.0]);
}
