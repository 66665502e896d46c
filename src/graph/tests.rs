//! Tests of recording that need no device. Those that run what was recorded are in
//! `device/tests.rs`.

use super::*;

fn tape() -> Tape {
    Tape::new(Capabilities::MINIMAL)
}

fn tensor(id: u64, offset: usize, shape: &[usize]) -> TensorRef {
    TensorRef {
        id: TensorId(id),
        offset,
        shape: shape.to_vec(),
    }
}

#[test]
fn a_view_leaves_the_shape_of_the_value_as_it_was() {
    let mut tape = tape();
    let x = tape.variable(&[4, 6]);
    let y = tape.view(x, &[2, 12]);
    let z = tape.view(y, &[24]);
    assert_eq!(
        (tape.shape(x), tape.shape(y), tape.shape(z)),
        (&[4, 6][..], &[2, 12][..], &[24][..])
    );
    assert_eq!((tape.view(x, &[2, 12]), tape.view(z, &[4, 6])), (y, x));
    assert_eq!(tape.dispatches(), 0);
}

#[test]
#[should_panic(expected = "view: [4, 6] has a different number of elements than [5]")]
fn a_view_of_another_size_is_refused() {
    let mut tape = tape();
    let x = tape.input(&[4, 6]);
    tape.view(x, &[5]);
}

#[test]
fn the_gradient_of_a_view_is_that_of_the_value() {
    let mut tape = tape();
    let x = tape.variable(&[4, 6]);
    let flat = tape.view(x, &[24]);
    let y = tape.scale(flat, 2.0);
    let dy = tape.input(&[24]);
    tape.backward(y, dy);
    let dx = tape.grad(x).unwrap();
    assert_eq!(tape.shape(dx), [4, 6]);
    // the product and its gradient
    assert_eq!(tape.dispatches(), 2);
}

#[test]
fn a_tensor_bound_under_two_shapes_is_one_value() {
    let mut tape = tape();
    let whole = tape.bind(tensor(1, 64, &[4, 16]));
    assert_eq!(tape.bind(tensor(1, 64, &[4, 16])), whole);
    let flat = tape.bind(tensor(1, 64, &[64]));
    assert_eq!((tape.root(flat), tape.shape(flat)), (whole, &[64][..]));
    assert_ne!(tape.bind(tensor(2, 64, &[4, 16])), whole);
}

#[test]
fn parts_of_a_weight_that_do_not_overlap_are_parameters_of_their_own() {
    let mut tape = tape();
    let first = tape.parameter(tensor(1, 0, &[2, 64]));
    let second = tape.parameter(tensor(1, 128, &[64]));
    assert_ne!(first, second);
    assert_eq!(tape.parameters().len(), 2);
    // without a gradient the whole may be read beside its parts, as the optimizer does
    tape.bind(tensor(1, 0, &[3, 64]));
}

#[test]
#[should_panic(
    expected = "shares elements with the parameter [3, 64], and their gradients would not meet"
)]
fn a_part_of_a_weight_beside_the_whole_is_refused() {
    let mut tape = tape();
    tape.parameter(tensor(1, 0, &[3, 64]));
    tape.parameter(tensor(1, 64, &[64]));
}

#[test]
#[should_panic(
    expected = "shares elements with the parameter [64], and their gradients would not meet"
)]
fn a_whole_weight_beside_its_part_is_refused() {
    let mut tape = tape();
    tape.parameter(tensor(1, 64, &[64]));
    tape.parameter(tensor(1, 0, &[3, 64]));
}

#[test]
#[should_panic(expected = "does not start at a multiple of 256 bytes")]
fn an_unaligned_part_is_refused() {
    tape().bind(tensor(1, 8, &[8]));
}

#[test]
fn without_gradients_a_segment_records_nothing_more() {
    let mut tape = tape();
    let x = tape.input(&[8]);
    let segment = tape.segment();
    let y = tape.gelu(x);
    let z = tape.gelu(y);
    let variables = tape.variables.len();
    tape.recompute(segment, &[z]);
    assert!(tape.pullbacks.is_empty() && tape.variables.len() == variables);
}

#[test]
#[should_panic(expected = "would run twice")]
fn a_segment_that_changes_a_tensor_is_refused() {
    let mut tape = tape();
    let (x, first) = (tape.variable(&[8]), tape.input(&[1]));
    let state = tape.bind(tensor(1, 0, &[8]));
    let segment = tape.segment();
    let y = tape.gelu(x);
    tape.accumulate(state, y, first);
    tape.recompute(segment, &[y]);
}

#[test]
fn too_many_workgroups_are_an_error_that_names_the_kernel() {
    static SCALE: Kernel = crate::kernel!("scale");
    let mut tape = tape();
    let (x, y) = (tape.input(&[4]), tape.output(&[4]));
    tape.call(&SCALE, "forward")
        .bind("x", x)
        .bind("y", y)
        .param("n", 4u32)
        .param("factor", 2.0f32)
        .constant("WG", 64u32)
        .groups([70_000, 1, 1]);
    tape.hold(y);
    let Err(error) = Program::new(tape) else {
        panic!("70,000 workgroups became a program")
    };
    let text = error.to_string();
    assert!(
        text.contains("shaders/scale.wgsl `forward`") && text.contains("70000"),
        "{text}"
    );
}

#[test]
fn dispatches_whose_results_nobody_sees_are_left_out() {
    let mut tape = tape();
    let x = tape.input(&[8]);
    let y = tape.scale(x, 2.0);
    let unseen = tape.scale(y, 3.0);
    tape.scale(unseen, 4.0);
    let seen = tape.view(y, &[2, 4]);
    tape.hold(seen);
    let program = Program::new(tape).unwrap();
    assert_eq!(program.dispatches.len(), 1);
    assert_eq!(
        program.value(seen).map(|(v, shape, _)| (v, shape.to_vec())),
        Some((y, vec![2, 4]))
    );
}
