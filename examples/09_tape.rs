//! Chapter 9: how the tape records, and how values share memory.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use std::collections::BTreeMap;

use figure::{BLUE, Figure, GREEN, GREY, ORANGE, PURPLE};
use lesson::cpu;
use seemore::device::DeviceError;
use seemore::graph::{Place, Program};
use seemore::nn::{Context, Linear, ParameterStore, Parameters};
use seemore::ops::Activation;
use seemore::{Device, Plan, Tape};

const ROWS: usize = 64;
const WIDTH: usize = 128;

/// Records a stack of layers, a loss, and the way back. The parameters must outlive the tape.
fn record(device: &Device, layers: usize) -> Result<(Tape, ParameterStore), DeviceError> {
    let (stack, store) = Parameters::build(device, 1, |p| {
        let layer = |i: usize| Linear::new(p, &i.to_string(), WIDTH, WIDTH, true);
        (0..layers).map(layer).collect::<Result<Vec<_>, _>>()
    })?;
    let mut tape = device.tape();
    let mut x = tape.input(&[ROWS, WIDTH]);
    let targets = tape.constant(&[0u32; ROWS]);
    let mean = tape.constant(&[1.0 / ROWS as f32]);
    let mut c = Context::training(&mut tape, 0.0);
    for layer in &stack {
        x = layer.activated(&mut c, x, Activation::Gelu);
    }
    let loss = tape.cross_entropy(x, targets, mean, 0.0);
    tape.hold(loss);
    let forward = tape.dispatches();
    let one = tape.constant(&[1f32]);
    tape.backward(loss, one);
    let all = tape.dispatches();
    println!("layers {layers}: {forward} dispatches forward, {all} in all");
    // gradients are wanted after the run, so they are kept
    for (parameter, _) in tape.parameters() {
        let gradient = tape.grad(parameter).expect("the loss depends on it");
        tape.hold(gradient);
    }
    Ok((tape, store))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;
    let (tape, _parameters) = record(&device, 1)?;
    let plan = Plan::new(&device, tape)?;
    for call in plan.calls() {
        let kernel = format!("{}/{}", call.kernel, call.entry);
        println!("  {kernel:36} {:?} -> {:?}", call.reads, call.writes);
    }
    for layers in [4, 8, 16] {
        let memory = Plan::measure(&record(&device, layers)?.0);
        let (all, shared) = (memory.unshared / 1024, memory.shared / 1024);
        println!("  intermediate values: {all} KiB, sharing memory {shared} KiB");
    }

    // from which dispatch to which each intermediate value lives, and in which memory
    let program = Program::new(record(&device, 4)?.0)?;
    let mut lives: BTreeMap<_, (usize, usize)> = BTreeMap::new();
    for (at, dispatch) in program.dispatches.iter().enumerate() {
        for (v, _) in dispatch.uses() {
            lives.entry(v).or_insert((at, at)).1 = at;
        }
    }
    let alt = "Bars from the dispatch that writes a value to the last that reads it; bars with \
               the same number share memory and never overlap";
    let mut figure = Figure::new("09_tape", 680, 300, alt);
    let mut y = 40.0;
    for (v, (first, last)) in lives {
        let value = &program.values[&v];
        if let Place::Slot(slot) = value.place {
            let color = [BLUE, ORANGE, GREEN, PURPLE, GREY][slot % 5];
            let x = 40.0 + 26.0 * first as f32;
            figure.bar([x, y, 26.0 * (last - first + 1) as f32, 9.0], color, 0.9);
            figure.label(x - 6.0, y + 8.0, "end", 10, GREY, &slot.to_string());
            y += 12.0;
        }
    }
    figure.label(
        20.0,
        284.0,
        "start",
        12,
        GREY,
        "dispatches from left to right; the number is the place in memory",
    );
    figure.save();
    Ok(())
}
