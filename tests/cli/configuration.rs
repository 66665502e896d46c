//! Run configurations as files, and the flags that describe them.

use super::*;

#[test]
fn a_saved_configuration_repeats_the_run() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 3);
    let flags = [
        "--data",
        "squares",
        "--preset",
        "tiny",
        "--steps",
        "4",
        "--batch-size",
        "4",
        "--dropout",
        "0.1",
        "--log-every",
        "1",
    ];
    let run = |args: &[&str]| {
        let output = seemore(dir.path(), &[&["train"], args].concat());
        losses(&succeeds(&output))
    };
    let first = run(&[&flags[..], &["--out", "first", "--json"]].concat());
    assert_eq!(first.len(), 4);
    // the file that the flags describe, and the one that the run folder stores
    run(&[&flags[..], &["--save-config", "saved.toml"]].concat());
    let output = seemore(dir.path(), &["train", "--save-config", "saved.toml"]);
    fails(&output, 1, &["saved.toml", "already exists"]);
    for (file, out) in [("saved.toml", "second"), ("first/run.toml", "third")] {
        assert_eq!(run(&[file, "--out", out, "--json"]), first, "{file}");
    }
    // flags override the file
    let longer = run(&[
        "saved.toml",
        "--steps",
        "5",
        "--schedule",
        "constant",
        "--out",
        "fourth",
        "--json",
    ]);
    assert_eq!(longer.len(), 5);

    std::fs::write(
        dir.path().join("wrong.toml"),
        "[model]\npreest = \"tiny\"\n",
    )
    .unwrap();
    let output = seemore(dir.path(), &["train", "wrong.toml"]);
    fails(&output, 1, &["wrong.toml", "preest"]);
    let output = seemore(dir.path(), &["train", "absent.toml"]);
    fails(&output, 1, &["absent.toml"]);
    let output = seemore(dir.path(), &["train", "saved.toml", "--resume", "first"]);
    fails(&output, 2, &["--resume"]);
}

#[test]
fn a_resumed_run_keeps_the_settings_that_decide_its_steps() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    let args = [
        "train", "--data", "squares", "--preset", "tiny", "--steps", "2", "--out", "run",
    ];
    succeeds(&seemore(dir.path(), &args));
    for (flag, value) in [
        ("--lr", "0.5"),
        ("--seed", "9"),
        ("--preset", "seemore"),
        ("--batch-size", "2"),
        ("--freeze", "decoder"),
        ("--load", "run"),
    ] {
        let output = seemore(dir.path(), &["train", "--resume", "run", flag, value]);
        fails(&output, 2, &[flag, "--resume"]);
    }
    let longer = [
        "train",
        "--resume",
        "run",
        "--steps",
        "3",
        "--log-every",
        "1",
        "--keep",
        "1",
    ];
    succeeds(&seemore(dir.path(), &longer));
    // a repeated run may differ in anything
    succeeds(&seemore(
        dir.path(),
        &["train", "--like", "run", "--lr", "0.01", "--out", "other"],
    ));
}

#[test]
fn help_shows_the_common_flags_and_help_all_shows_all() {
    let dir = tempfile::tempdir().unwrap();
    let help = |flag: &str| succeeds(&seemore(dir.path(), &["train", flag]));
    let (common, all) = (help("--help"), help("--help-all"));
    assert!(common.contains("--batch-size") && !common.contains("--label-smoothing"));
    assert!(all.contains("--label-smoothing") && all.contains("Optimizer:"));
    // two screens of 40 lines
    assert!(common.lines().count() <= 80, "{common}");
}

#[test]
fn wrong_arguments_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| seemore(dir.path(), args);
    fails(&run(&["train"]), 1, &["data/inputs.csv", "--data"]);
    fails(&run(&["train", "--data", "absent.csv"]), 1, &["absent.csv"]);
    fails(
        &run(&[
            "train",
            "--data",
            "absent.csv",
            "--adapter",
            "no such thing",
        ]),
        2,
        &["no such thing", "0: "],
    );
    fails(&run(&["train", "--batch-size", "0"]), 1, &["--batch-size"]);
    fails(&run(&["train", "--steps", "0"]), 2, &["--steps"]);
    squares(&dir.path().join("squares"), 1);
    std::fs::write(dir.path().join("blocked"), "a file in the way").unwrap();
    fails(
        &run(&[
            "train",
            "--data",
            "squares",
            "--preset",
            "tiny",
            "--out",
            "blocked/model",
        ]),
        1,
        &["blocked/model"],
    );
    fails(&run(&["train", "--max-time", "soon"]), 2, &["--max-time"]);
    fails(
        &run(&["train", "--data", "squares", "--resume", "nothing"]),
        1,
        &["nothing", "states/"],
    );
    fails(
        &run(&["import", "absent.safetensors", "--out", "model"]),
        1,
        &["absent.safetensors"],
    );
    fails(&run(&["export", "absent", "--out", "file"]), 1, &["absent"]);
    squares(&dir.path().join("squares"), 1);
    fails(
        &run(&[
            "train",
            "--data",
            "squares",
            "--preset",
            "tiny",
            "--batch-size",
            "6",
            "--accumulate",
            "4",
        ]),
        1,
        &["--accumulate"],
    );
    std::fs::write(dir.path().join("config.json"), "{\"patch_size\": 7}").unwrap();
    fails(
        &run(&["train", "--data", "squares", "--config", "config.json"]),
        1,
        &["patch_size", "image_size"],
    );
}
