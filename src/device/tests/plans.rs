//! Programs run on a real device: memory, gradients, recomputation.

use proptest::prelude::*;

use crate::device::{Device, DeviceError, DispatchInfo, Plan, Tensor};
use crate::graph::{Memory, Tape, Var};

fn run(device: &Device, tape: Tape, x: Var) -> usize {
    let plan = Plan::new(device, tape).unwrap();
    plan.write(x, &[1.0f32, 2.0, 3.0]);
    plan.run().unwrap();
    plan.dispatches()
}

#[test]
fn a_value_is_copied_into_a_tensor_only_if_something_reads_it() {
    let device = Device::best().unwrap();
    let whole = Tensor::new(&device, &[192], &[7.0f32; 192]).unwrap();
    let [first, second, third] = [0, 64, 128].map(|at| whole.part(at, &[3]));
    let mut tape = device.tape();
    let x = tape.input(&[3]);
    let y = tape.scale(x, 2.0);
    tape.place(y, &first);
    assert_eq!(run(&device, tape, x), 1);

    let mut tape = device.tape();
    let x = tape.input(&[3]);
    let y = tape.scale(x, 3.0);
    let z = tape.scale(y, 2.0);
    // read to make z, so it is copied; and an input is
    tape.place(y, &second);
    tape.place(x, &third);
    tape.hold(z);
    assert_eq!(run(&device, tape, x), 4);

    let values: Vec<f32> = whole.read().unwrap();
    assert_eq!(
        (&values[..3], &values[64..67], &values[128..131]),
        (
            &[2.0, 4.0, 6.0][..],
            &[3.0, 6.0, 9.0][..],
            &[1.0, 2.0, 3.0][..]
        )
    );
    assert_eq!((values[63], values[70], values[191]), (7.0, 7.0, 7.0));
}

#[test]
#[should_panic(
    expected = "scale.wgsl `forward` writes a part of a buffer of which it uses another part"
)]
fn a_dispatch_that_writes_cannot_use_two_parts_of_one_tensor() {
    let device = Device::best().unwrap();
    let whole = Tensor::zeros(&device, &[128]).unwrap();
    let mut tape = device.tape();
    let x = tape.bind(&whole.part(0, &[8]));
    let y = tape.scale(x, 2.0);
    tape.place(y, &whole.part(64, &[8]));
    let _ = Plan::new(&device, tape);
}

const N: usize = 1000;

/// Returns result and gradients of twelve blocks `x + gelu(dropout(gelu(x + a)) + b)`, and the
/// memory and dispatches of their plan.
fn gradients(device: &Device, nested: bool, checkpoint: bool) -> (Vec<Vec<u32>>, Memory, usize) {
    let mut tape = device.tape();
    let [x, a, b] = [(); 3].map(|()| tape.variable(&[N]));
    let (seed, cotangent) = (tape.input(&[1]), tape.input(&[N]));
    let block = |t: &mut Tape, x: Var| {
        let whole = checkpoint.then(|| t.segment());
        let inner = (checkpoint && nested).then(|| t.segment());
        let sum = t.add(x, a);
        let active = t.gelu(sum);
        let dropped = t.dropout(active, 0.3, seed);
        inner
            .into_iter()
            .for_each(|segment| t.recompute(segment, &[dropped]));
        let shifted = t.add(dropped, b);
        let active = t.gelu(shifted);
        let out = t.add(x, active);
        whole
            .into_iter()
            .for_each(|segment| t.recompute(segment, &[out]));
        out
    };
    let y = (0..12).fold(x, |x, _| block(&mut tape, x));
    tape.hold(y);
    tape.backward(y, cotangent);
    let grads = [x, a, b].map(|v| tape.grad(v).unwrap());
    grads.iter().for_each(|&grad| tape.hold(grad));
    let plan = Plan::new(device, tape).unwrap();
    let values = |from: f32| {
        (0..N)
            .map(|i| from + (i * 7 % 19) as f32 / 19.0)
            .collect::<Vec<f32>>()
    };
    [x, a, b, cotangent]
        .into_iter()
        .enumerate()
        .for_each(|(index, v)| plan.write(v, &values(index as f32 / 3.0 - 0.5)));
    plan.write(seed, &[5u32]);
    plan.run().unwrap();
    let read = [y]
        .into_iter()
        .chain(grads)
        .map(|v| plan.read(v).unwrap())
        .collect();
    (read, plan.memory(), plan.dispatches())
}

#[test]
fn recomputed_values_give_the_same_gradients_in_less_memory() {
    let device = Device::best().unwrap();
    let (kept, most, dispatches) = gradients(&device, false, false);
    assert!(
        kept.iter()
            .flatten()
            .all(|&bits| f32::from_bits(bits).is_finite())
    );
    for nested in [false, true] {
        let (again, less, more) = gradients(&device, nested, true);
        assert_eq!(kept, again, "nested: {nested}");
        assert!(less.shared < most.shared * 3 / 4, "{less:?} and {most:?}");
        assert!(
            more > dispatches && more < 2 * dispatches,
            "{more} and {dispatches}"
        );
    }
}

#[test]
fn dispatches_report_their_shapes_and_bytes() {
    let device = Device::best().unwrap();
    let mut tape = device.tape();
    let (x, y) = (tape.input(&[3, 5]), tape.input(&[3, 5]));
    let sum = tape.add(x, y);
    tape.hold(sum);
    let plan = Plan::new(&device, tape).unwrap();
    let calls: Vec<&DispatchInfo> = plan.calls().collect();
    assert_eq!((calls.len(), calls[0].kernel), (1, "add"));
    assert_eq!(
        (&calls[0].reads, &calls[0].writes),
        (&vec![vec![3, 5]; 2], &vec![vec![3, 5]])
    );
    assert_eq!(calls[0].bytes(), 3 * 4 * 15);
    let times = plan.times().unwrap().map(|times| times.len());
    assert_eq!(times, device.has_timestamps().then_some(1));
}

/// An op of a random graph, and the earlier values it takes, modulo their number.
fn step() -> impl Strategy<Value = (u8, usize, usize)> {
    (0..6u8, 0..100usize, 0..100usize)
}

/// Returns the bits of the result of a random graph over values of 6 x 5, and of the gradients of
/// its inputs.
fn evaluated(
    device: &Device,
    steps: &[(u8, usize, usize)],
    reads: usize,
    plan: impl Fn(&Device, Tape) -> Result<Plan, DeviceError>,
) -> (Vec<Vec<u32>>, Memory) {
    let mut tape = device.tape();
    let inputs = [(); 3].map(|()| tape.variable(&[6, 5]));
    let [weight, bias] = [(); 2].map(|()| tape.variable(&[5]));
    let square = tape.variable(&[5, 5]);
    let mut values = inputs.to_vec();
    for &(op, a, b) in steps {
        let (a, b) = (values[a % values.len()], values[b % values.len()]);
        values.push(match op {
            0 => tape.add(a, b),
            1 => tape.scale(a, 0.75),
            2 => tape.gelu(a),
            3 => tape.softmax(a),
            4 => tape.layernorm(a, weight, bias, 1e-5),
            _ => tape.matmul(a, square),
        });
    }
    // some value in the middle is used once more at the end
    let (last, read) = (values[values.len() - 1], values[reads % values.len()]);
    let y = tape.add(last, read);
    tape.hold(y);
    let cotangent = tape.input(&[6, 5]);
    tape.backward(y, cotangent);
    let grads: Vec<Var> = inputs
        .iter()
        .chain([&weight, &bias, &square])
        .filter_map(|&v| tape.grad(v))
        .collect();
    grads.iter().for_each(|&grad| tape.hold(grad));
    let plan = plan(device, tape).unwrap();
    for (index, v) in inputs
        .into_iter()
        .chain([weight, bias, square, cotangent])
        .enumerate()
    {
        let count: usize = plan.shape(v).iter().product();
        plan.write(
            v,
            &(0..count)
                .map(|i| ((i * 7 + index * 5) % 13) as f32 / 6.0 - 1.0)
                .collect::<Vec<f32>>(),
        );
    }
    // the second run finds what the first left in the buffers
    plan.run().unwrap();
    plan.run().unwrap();
    (
        [y].into_iter()
            .chain(grads)
            .map(|v| plan.read(v).unwrap())
            .collect(),
        plan.memory(),
    )
}

/// Opened once for all cases.
static DEVICE: std::sync::LazyLock<Device> = std::sync::LazyLock::new(|| Device::best().unwrap());

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn shared_memory_does_not_change_results(steps in prop::collection::vec(step(), 1..30), reads in 0..100usize) {
        let device = DEVICE.clone();
        let (shared, memory) = evaluated(&device, &steps, reads, Plan::new);
        let (alone, most) = evaluated(&device, &steps, reads, Plan::unshared);
        prop_assert_eq!(shared, alone);
        prop_assert!(memory.shared <= most.shared && most.shared == most.unshared);
    }
}
