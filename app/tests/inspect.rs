//! The inspect page, with a worker that the test plays and with the real one.

mod common;

use std::time::Duration;

use common::{has, loaded, real, scripted, snapshot, until};
use egui_kittest::kittest::Queryable;
use seemore::device::{DispatchInfo, Memory};
use seemore_app::work::inspection::{Inspection, Parameter, Program};
use seemore_app::worker::{Order, Report};

fn call(kernel: &'static str, elements: usize, micros: u64) -> (DispatchInfo, Option<Duration>) {
    let shapes = vec![vec![elements]];
    let call = DispatchInfo {
        kernel,
        entry: "main",
        reads: shapes.clone(),
        writes: shapes,
        grid: [1, 1, 1],
    };
    (call, Some(Duration::from_micros(micros)))
}

#[test]
fn dispatches_are_listed_and_sorted() {
    let (mut harness, orders, reports) = scripted(vec![]);
    reports.send(loaded()).unwrap();
    harness.run_steps(2);
    harness.get_by_label("Inspect").click();
    harness.run_steps(2);
    assert!(
        orders
            .try_iter()
            .any(|order| matches!(order, Order::Inspect(Program::First)))
    );
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
    let calls = vec![call("zeta", 10, 5), call("alpha", 3000, 80)];
    let inspection = Inspection {
        program: Program::First,
        calls,
        memory,
        parameters,
    };
    reports
        .send(Report::Inspected(Box::new(inspection)))
        .unwrap();
    harness.run_steps(2);
    assert!(has(
        &harness,
        "2 dispatches, 85 us in this run; 500 B of buffers (1100 B without sharing)"
    ));
    let top =
        |harness: &egui_kittest::Harness<_>, label: &str| harness.get_by_label(label).rect().top();
    assert!(top(&harness, "zeta.main") < top(&harness, "alpha.main"));
    harness.get_by_label("Time").click();
    harness.run_steps(2);
    assert!(top(&harness, "alpha.main") < top(&harness, "zeta.main"));
    snapshot(&mut harness, "inspect");
    harness.get_by_label("Parameters").click();
    harness.run_steps(2);
    assert!(has(&harness, "decoder.ln.weight") && has(&harness, "2.500"));
}

#[test]
fn the_shipped_model_is_listed_by_the_real_worker() {
    let mut harness = real(vec![]);
    until(&mut harness, "the model", |harness| {
        !has(harness, "opening the graphics adapter")
    });
    harness.get_by_label("Inspect").click();
    until(&mut harness, "the program", |harness| {
        has(harness, "dispatches,")
    });
    harness.get_by_label("Next token").click();
    until(&mut harness, "the other program", |harness| {
        !has(harness, "running it once")
    });
    harness.get_by_label("Parameters").click();
    for text in ["2193824 parameters in 54 tensors", "vit.patch.weight"] {
        until(&mut harness, text, |harness| has(harness, text));
    }
}
