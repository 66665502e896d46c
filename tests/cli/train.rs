//! `seemore train`: reports, resuming, saving, and what it refuses.

use super::*;

#[test]
fn json_lines_end_with_a_summary() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 4);
    let args = [
        "train",
        "--data",
        "squares",
        "--preset",
        "tiny",
        "--steps",
        "12",
        "--log-every",
        "4",
        "--json",
        "--out",
        "out",
    ];
    let printed = succeeds(&seemore(dir.path(), &args));
    let lines: Vec<serde_json::Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let steps: Vec<u64> = lines
        .iter()
        .filter(|line| line["loss"].is_f64())
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [1, 4, 8, 12]);
    assert!(
        lines[0]["first_step_seconds"].as_f64().unwrap() > 0.0 && lines[0]["kernels"].is_u64(),
        "{}",
        lines[0]
    );
    assert!(
        lines[1]["lr"].is_f64()
            && lines[1]["tokens_per_s"].is_f64()
            && lines[1]["waiting_ms"].is_f64()
    );
    let last = lines.last().unwrap();
    assert_eq!(
        (
            last["final"].as_bool(),
            last["steps"].as_u64(),
            last["model"].as_str()
        ),
        (Some(true), Some(12), Some("out"))
    );
    assert!(
        last["val_loss"].is_f64()
            && last["exact_match"].is_f64()
            && last["seconds"].is_f64()
            && last["waiting_ms"].is_f64()
    );
}

#[test]
fn resuming_repeats_the_losses_of_an_uninterrupted_run() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 3);
    let run = |extra: &[&str]| {
        losses(&succeeds(&seemore(
            dir.path(),
            &[&["train", "--json"], extra].concat(),
        )))
    };
    // another seed than the default, which also decides the split of the data
    let fresh = [
        "--data",
        "squares",
        "--preset",
        "tiny",
        "--schedule",
        "constant",
        "--batch-size",
        "4",
        "--dropout",
        "0.1",
        "--seed",
        "7",
        "--log-every",
        "1",
    ];
    let whole = run(&[&fresh[..], &["--steps", "9", "--out", "whole"]].concat());
    let first = run(&[&fresh[..], &["--steps", "5", "--out", "halves"]].concat());
    // recomputing activations does not change results
    let second = run(&[
        "--resume",
        "halves",
        "--steps",
        "9",
        "--checkpoint-activations",
    ]);
    assert_eq!([first, second].concat(), whole);

    let again = seemore(dir.path(), &["train", "--resume", "halves"]);
    fails(&again, 1, &["halves", "9 steps", "--steps"]);
    squares(&dir.path().join("others"), 4);
    fails(
        &seemore(
            dir.path(),
            &[
                "train", "--resume", "halves", "--steps", "12", "--data", "others",
            ],
        ),
        1,
        &["halves", "--data"],
    );
    std::fs::remove_dir_all(dir.path().join("whole/states")).unwrap();
    fails(
        &seemore(dir.path(), &["train", "--resume", "whole", "--steps", "12"]),
        1,
        &["whole", "states"],
    );
}

#[test]
fn non_finite_values_are_never_saved() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    let wild = [
        "train",
        "--data",
        "squares",
        "--preset",
        "tiny",
        "--lr",
        "1e30",
        "--clip",
        "0",
        "--warmup",
        "0",
        "--log-every",
        "1000",
    ];
    for (out, extra) in [("a", ["--max-time", "2s"]), ("b", ["--save-every", "1"])] {
        let output = seemore(dir.path(), &[&wild[..], &extra, &["--out", out]].concat());
        fails(&output, 1, &["diverged", "--lr"]);
        // a save before the divergence may exist, with finite values
        if let Ok(values) = seemore::models::checkpoint::read_values(
            &dir.path().join(out).join("model.safetensors"),
        ) {
            assert!(
                values
                    .values()
                    .all(|(_, data)| data.iter().all(|value| value.is_finite()))
            );
        }
    }
    fails(
        &seemore(dir.path(), &["train", "--data", "squares", "--clip", "nan"]),
        1,
        &["--clip"],
    );
}

#[test]
fn a_closed_pipe_does_not_end_training() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    let mut child = spawn(
        dir.path(),
        &[
            "train",
            "--data",
            "squares",
            "--preset",
            "tiny",
            "--steps",
            "6",
            "--log-every",
            "1",
            "--out",
            "model",
        ],
    );
    drop(child.stdout.take());
    succeeds(&child.wait_with_output().unwrap());
    assert!(dir.path().join("model/model.safetensors").is_file());
}

#[test]
#[cfg(unix)]
fn ctrl_c_saves_and_names_the_command_to_continue() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    let mut child = spawn(
        dir.path(),
        &[
            "train",
            "--data",
            "squares",
            "--preset",
            "tiny",
            "--steps",
            "100000",
            "--log-every",
            "1",
            "--out",
            "model",
        ],
    );
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("step 3/") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended by itself");
    }
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(rest.contains("--resume model"), "{rest}");
    succeeds(&seemore(
        dir.path(),
        &["train", "--resume", "model", "--max-time", "1s"],
    ));
}

#[test]
fn checkpoints_are_not_overwritten_unasked() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    let args = [
        "train", "--data", "squares", "--preset", "tiny", "--steps", "1", "--out", "model",
    ];
    succeeds(&seemore(dir.path(), &args));
    fails(
        &seemore(dir.path(), &args),
        1,
        &["model", "--overwrite", "--resume"],
    );
    succeeds(&seemore(
        dir.path(),
        &[&args[..], &["--overwrite"]].concat(),
    ));
    // without --out each run gets the next numbered folder
    for expected in ["runs/tiny-1", "runs/tiny-2"] {
        let printed = succeeds(&seemore(dir.path(), &args[..7]));
        assert!(printed.contains(expected), "{printed}");
    }
}

#[test]
fn parts_are_loaded_and_frozen_and_text_is_read() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 3);
    std::fs::write(
        dir.path().join("text.txt"),
        "red square\nblue square\ngreen square\n",
    )
    .unwrap();
    let base = ["train", "--preset", "tiny", "--steps", "3"];
    let train = |more: &[&str]| seemore(dir.path(), &[&base[..], more].concat());
    succeeds(&train(&["--text", "text.txt", "--out", "text"]));
    let tokenizer = [
        "--tokenizer",
        "text/tokenizer.json",
        "--data",
        "squares",
        "--val-split",
        "0",
    ];
    let projector = [
        "--load",
        "text",
        "--load-parts",
        "decoder",
        "--freeze",
        "encoder,decoder",
        "--out",
        "projector",
    ];
    let output = train(&[&tokenizer[..], &projector].concat());
    succeeds(&output);
    assert!(
        stderr(&output).contains("tensors from text/model.safetensors"),
        "{}",
        stderr(&output)
    );
    let values = |folder: &str| {
        seemore::models::checkpoint::read_values(&dir.path().join(folder).join("model.safetensors"))
            .unwrap()
    };
    let (text, projector) = (values("text"), values("projector"));
    assert_eq!(text["tok.weight"], projector["tok.weight"]);
    assert_ne!(text["proj1.weight"], projector["proj1.weight"]);
    fails(
        &train(&["--data", "squares", "--freeze", "encoder,projector,decoder"]),
        1,
        &["nothing is left to train"],
    );
    fails(
        &train(&["--data", "squares", "--load", "nowhere"]),
        1,
        &["nowhere"],
    );
}
