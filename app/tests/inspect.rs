//! The Inspect page, with a scripted and with the real worker.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{command, has, loaded, real, scripted, snapshots, until};
use egui_kittest::kittest::Queryable;
use seemore::device::{DispatchInfo, Memory};
use seemore_app::worker::{Event, Inspection, Parameter, Program};

fn dispatch(
    kernel: &'static str,
    elements: usize,
    micros: u64,
) -> (DispatchInfo, Option<Duration>) {
    let shapes = vec![vec![elements]];
    let dispatch = DispatchInfo {
        kernel,
        entry: "main",
        reads: shapes.clone(),
        writes: shapes,
        grid: [1, 1, 1],
    };
    (dispatch, Some(Duration::from_micros(micros)))
}

#[test]
fn dispatches_are_listed_and_sorted() {
    let (mut harness, commands, events) = scripted(vec![]);
    events.send(loaded());
    harness.run_steps(2);
    harness.get_by_label("Inspect").click();
    harness.run_steps(2);
    let program: Program = command(&commands).unwrap();
    assert_eq!(program, Program::FirstToken);
    let parameters = vec![Parameter {
        name: "decoder.ln.weight".into(),
        shape: vec![7],
        norm: 2.5,
    }];
    let memory = Memory {
        unshared: 900,
        shared: 300,
        held: 200,
        largest: 100,
    };
    let inspection = Inspection {
        program,
        dispatches: vec![dispatch("zeta", 10, 5), dispatch("alpha", 3000, 80)],
        memory,
        parameters,
    };
    events.send(Event::Inspected(Ok(Arc::new(inspection))));
    harness.run_steps(2);
    assert!(has(
        &harness,
        "2 dispatches, 85 µs in one run; 500 B of buffers (1100 B without sharing)"
    ));
    let top =
        |harness: &egui_kittest::Harness<_>, label: &str| harness.get_by_label(label).rect().top();
    assert!(top(&harness, "zeta.main") < top(&harness, "alpha.main"));
    harness.get_by_label("Time, \u{b5}s").click();
    harness.run_steps(2);
    assert!(top(&harness, "alpha.main") < top(&harness, "zeta.main"));
    snapshots(&mut harness, "inspect");
    harness.get_by_label("Parameters").click();
    harness.run_steps(2);
    assert!(has(&harness, "decoder.ln.weight") && has(&harness, "2.500"));
}

#[test]
fn real_worker_lists_the_shipped_model() {
    let mut harness = real(vec![]);
    until(&mut harness, "device", |harness| {
        !has(harness, "Opening the adapter")
    });
    harness.get_by_label("Inspect").click();
    until(&mut harness, "program", |harness| {
        has(harness, "dispatches,")
    });
    harness.get_by_label("Next token").click();
    until(&mut harness, "other program", |harness| {
        !has(harness, "Profiling...")
    });
    harness.get_by_label("Parameters").click();
    for text in ["2817312 parameters in 67 tensors", "vit.patch.weight"] {
        until(&mut harness, text, |harness| has(harness, text));
    }
}
