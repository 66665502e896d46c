//! The command line: exit codes, messages, files.

mod common;

use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::process::Command;

use common::{COLOURS, fails, losses, seemore, spawn, squares, stderr, stdout, succeeds};
use image::{Rgb, RgbImage};

fn tiny_model(dir: &Path) -> String {
    squares(&dir.join("squares"), 4);
    succeeds(&seemore(
        dir,
        &[
            "train",
            "--data",
            "squares",
            "--preset",
            "tiny",
            "--steps",
            "60",
            "--no-augment",
            "--out",
            "model",
        ],
    ))
}

#[test]
fn a_trained_model_captions_and_draws_attention() {
    let dir = tempfile::tempdir().unwrap();
    let printed = tiny_model(dir.path());
    assert!(
        printed.contains("step 60/60") && printed.contains("exact match"),
        "{printed}"
    );
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(dir.path().join("model").join(file).is_file(), "{file}");
    }

    let output = seemore(
        dir.path(),
        &[
            "caption",
            "squares/red0.png",
            "squares/blue1.png",
            "--model",
            "model",
        ],
    );
    assert_eq!(
        succeeds(&output),
        "squares/red0.png: red\nsquares/blue1.png: blue\n"
    );
    assert!(stderr(&output).contains("adapter: "));

    let output = seemore(
        dir.path(),
        &[
            "caption",
            "squares/green2.png",
            "--model",
            "model",
            "--attention",
            "look.png",
        ],
    );
    assert_eq!(succeeds(&output), "green\n");
    let picture = image::open(dir.path().join("look.png")).unwrap();
    assert!(picture.width() > 5 * 160 && picture.height() > 160);

    let mut child = spawn(dir.path(), &["caption", "-", "--model", "model"]);
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&std::fs::read(dir.path().join("squares/grey3.png")).unwrap())
        .unwrap();
    assert_eq!(succeeds(&child.wait_with_output().unwrap()), "grey\n");
}

#[test]
fn tokenizers_are_words_bytes_or_files() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 4);
    for (name, _) in COLOURS {
        for shade in 0..4 {
            std::fs::write(
                dir.path().join(format!("squares/{name}{shade}.txt")),
                format!("a ({name}) square"),
            )
            .unwrap();
        }
    }
    let train = |extra: &[&str]| {
        let args = [
            "train",
            "--data",
            "squares",
            "--preset",
            "tiny",
            "--steps",
            "60",
            "--no-augment",
        ];
        seemore(dir.path(), &[&args[..], extra].concat())
    };
    let caption = |model: &str, extra: &[&str]| {
        let args = ["caption", "squares/red0.png", "--model", model];
        succeeds(&seemore(dir.path(), &[&args[..], extra].concat()))
    };
    succeeds(&train(&["--tokenizer", "words", "--out", "words"]));
    assert_eq!(caption("words", &[]), "a (red) square\n");
    assert_eq!(caption("words", &["--prompt", "a "]), "a (red) square\n");
    let output = seemore(
        dir.path(),
        &[
            "caption",
            "squares/red0.png",
            "--model",
            "words",
            "--prompt",
            "my",
            "--attention",
            "look.png",
        ],
    );
    succeeds(&output);
    assert!(
        stderr(&output).contains("vocabulary lacks parts of --prompt: \"my\""),
        "{}",
        stderr(&output)
    );

    succeeds(&train(&[
        "--tokenizer",
        "words/tokenizer.json",
        "--out",
        "file",
    ]));
    let tokenizer = |model: &str| {
        std::fs::read_to_string(dir.path().join(model).join("tokenizer.json")).unwrap()
    };
    assert_eq!(tokenizer("file"), tokenizer("words"));
    succeeds(&train(&[
        "--tokenizer",
        "bpe",
        "--vocab-size",
        "300",
        "--out",
        "bpe",
    ]));
    assert_eq!(caption("bpe", &[]), "a (red) square\n");
    // a resumed run keeps the tokenizer of its folder
    succeeds(&seemore(
        dir.path(),
        &["train", "--resume", "bpe", "--steps", "61"],
    ));
    fails(
        &seemore(
            dir.path(),
            &[
                "train",
                "--resume",
                "bpe",
                "--steps",
                "62",
                "--tokenizer",
                "words",
            ],
        ),
        2,
        &["--tokenizer"],
    );

    fails(&train(&["--tokenizer", "sounds"]), 2, &["sounds", "words"]);
    fails(&train(&["--tokenizer", "absent.json"]), 1, &["absent.json"]);
    fails(
        &train(&["--tokenizer", "words/config.json"]),
        1,
        &["config.json", "tokenizer"],
    );
    std::fs::write(dir.path().join("changes.json"), r#"{"flip": 2}"#).unwrap();
    let changed = |extra: &[&str]| {
        seemore(
            dir.path(),
            &[&["train", "--data", "squares"], extra].concat(),
        )
    };
    fails(
        &changed(&["--augment-config", "changes.json"]),
        1,
        &["changes.json", "flip"],
    );
    fails(
        &changed(&["--augment-config", "absent.json"]),
        1,
        &["absent.json"],
    );
    fails(&train(&["--vocab-size", "99"]), 1, &["--vocab-size"]);
    fails(
        &train(&["--tokenizer", "bpe", "--vocab-size", "99"]),
        1,
        &["99", "--vocab-size"],
    );
}

#[test]
fn unusable_pictures_and_models_are_named() {
    let dir = tempfile::tempdir().unwrap();
    tiny_model(dir.path());
    std::fs::write(dir.path().join("notes.png"), "no picture").unwrap();
    let output = seemore(
        dir.path(),
        &[
            "caption",
            "notes.png",
            "absent.png",
            "squares/red1.png",
            "--model",
            "model",
        ],
    );
    fails(&output, 1, &["notes.png", "absent.png", "2 of 3"]);
    assert!(stdout(&output).contains("squares/red1.png: red"));
    fails(
        &seemore(
            dir.path(),
            &["caption", "squares/red1.png", "--model", "nothing"],
        ),
        1,
        &["nothing", "config.json"],
    );
    // without --model, the shipped model in a folder above the program is used
    let shipped = seemore(dir.path(), &["caption", "squares/red1.png"]);
    assert!(
        !succeeds(&shipped).trim().is_empty()
            && stderr(&shipped).contains("data/checkpoints/emoji"),
        "{}",
        stderr(&shipped)
    );
    fails(
        &seemore(
            dir.path(),
            &[
                "caption",
                "squares/red1.png",
                "--model",
                "model",
                "--top-p",
                "2",
            ],
        ),
        1,
        &["--top-p"],
    );

    let file = dir.path().join("model/model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    fails(
        &seemore(
            dir.path(),
            &["caption", "squares/red1.png", "--model", "model"],
        ),
        1,
        &["model.safetensors"],
    );
    std::fs::write(
        dir.path().join("model/config.json"),
        "{\"width\": \"wide\"}",
    )
    .unwrap();
    fails(
        &seemore(
            dir.path(),
            &["caption", "squares/red1.png", "--model", "model"],
        ),
        1,
        &["config.json"],
    );
}

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
        lines[0]["first_step_seconds"].as_f64().unwrap() > 0.0
            && lines[0]["kernels"].as_u64().unwrap() > 10,
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
fn unusable_rows_are_left_out_or_fatal_when_strict() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    std::fs::write(dir.path().join("squares/broken.png"), "no picture").unwrap();
    std::fs::write(dir.path().join("squares/broken.txt"), "broken").unwrap();
    let args = [
        "train", "--data", "squares", "--preset", "tiny", "--steps", "1", "--out", "model",
    ];
    let output = seemore(dir.path(), &args);
    succeeds(&output);
    assert!(
        stderr(&output).contains("broken.png") && stderr(&output).contains("1 left out"),
        "{}",
        stderr(&output)
    );
    fails(
        &seemore(
            dir.path(),
            &[&args[..], &["--strict", "--overwrite"]].concat(),
        ),
        1,
        &["broken.png"],
    );
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

#[test]
fn a_missing_adapter_exits_with_2_and_install_advice() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    let output = Command::new(env!("CARGO_BIN_EXE_seemore"))
        .args(["train", "--data", "squares", "--preset", "tiny"])
        .env("VK_DRIVER_FILES", "/nonexistent")
        .env("VK_ICD_FILENAMES", "/nonexistent")
        .current_dir(dir.path())
        .output()
        .unwrap();
    if cfg!(target_os = "linux") {
        fails(&output, 2, &["no graphics adapter", "install"]);
    }
}

#[test]
fn doctor_reports_adapters_and_problems() {
    let dir = tempfile::tempdir().unwrap();
    let output = succeeds(&seemore(
        dir.path(),
        &["doctor", "--no-self-test", "--json"],
    ));
    let found: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert!(
        !found["adapters"].as_array().unwrap().is_empty()
            && found["problems"] == serde_json::json!([]),
        "{output}"
    );
    assert!(
        ["adapter", "largest tensor", "here", "cache", "variants"]
            .iter()
            .all(|key| found.get(key).is_some()),
        "{output}"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_seemore"));
    command.arg("doctor").current_dir(dir.path());
    // a file cannot be the cache folder
    std::fs::write(dir.path().join("file"), "").unwrap();
    let output = command
        .arg("--no-self-test")
        .env("SEEMORE_CACHE", dir.path().join("file/cache"))
        .output()
        .unwrap();
    fails(&output, 1, &["cannot write to", "file/cache"]);
    if cfg!(target_os = "linux") {
        let output = command
            .env("VK_DRIVER_FILES", "/nonexistent")
            .env("VK_ICD_FILENAMES", "/nonexistent")
            .output()
            .unwrap();
        fails(&output, 2, &["no graphics adapter", "install"]);
    }
}

#[test]
fn import_and_export_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    // the sizes of preset tiny with the original's arithmetic
    let config = r#"{"image_size": 32, "patch_size": 8, "vision_width": 64, "vision_layers": 2, "vision_heads": 4, "width": 32,
        "layers": 2, "heads": 4, "context": 96, "attention_scale": "width", "residual": "after_ln2", "count_pads": true}"#;
    std::fs::write(dir.path().join("original.json"), config).unwrap();
    let run = |args: &[&str]| seemore(dir.path(), args);
    succeeds(&run(&[
        "train",
        "--data",
        "squares",
        "--config",
        "original.json",
        "--steps",
        "1",
        "--out",
        "model",
    ]));
    succeeds(&run(&["export", "model", "--out", "state.safetensors"]));
    let import = ["import", "state.safetensors", "--out", "imported"];
    let output = run(&import);
    succeeds(&output);
    assert!(
        stderr(&output).contains("--characters"),
        "{}",
        stderr(&output)
    );
    succeeds(&run(&["export", "imported", "--out", "again.safetensors"]));
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("state.safetensors"), read("again.safetensors"));
    fails(&run(&import), 1, &["--overwrite"]);

    // "red", "green", "blue" and "grey" have 8 letters, which with 4 special tokens make 12: 11
    // characters and padding here
    let with_characters = |text: &str| {
        std::fs::write(dir.path().join("text.txt"), text).unwrap();
        run(&[&import[..], &["--overwrite", "--characters", "text.txt"]].concat())
    };
    fails(
        &with_characters("too few"),
        1,
        &["text.txt", "6 distinct", "12"],
    );
    assert!(!dir.path().join("imported/tokenizer.json").exists());
    succeeds(&with_characters("kjihgfedcbaabc"));
    let printed = succeeds(&run(&[
        "caption",
        "squares/red0.png",
        "--model",
        "imported",
        "--prompt",
        "cab",
        "--max-tokens",
        "3",
    ]));
    assert!(printed.starts_with("cab"), "{printed}");
    // files of the replaced model are removed
    std::fs::write(dir.path().join("imported/training.json"), "{}").unwrap();
    succeeds(&run(&[&import[..], &["--overwrite"]].concat()));
    assert!(
        !dir.path().join("imported/tokenizer.json").exists()
            && !dir.path().join("imported/training.json").exists()
    );
}

#[test]
fn bench_compares_with_an_earlier_run() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "bench",
        "matmul",
        "attention",
        "layernorm",
        "train",
        "decode",
        "load",
        "--preset",
        "tiny",
        "--runs",
        "2",
    ];
    let small = ["--shape", "33x20x48", "--batch-size", "2", "--text", "6"];
    let printed = succeeds(&seemore(
        dir.path(),
        &[&args[..], &small, &["--json"]].concat(),
    ));
    let lines: Vec<serde_json::Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for bench in [
        "matmul",
        "attention",
        "layernorm",
        "train",
        "decode",
        "load",
    ] {
        let line = lines
            .iter()
            .find(|line| line["bench"] == bench)
            .unwrap_or_else(|| panic!("no {bench} in {printed}"));
        assert!(
            line["median_ms"].as_f64().unwrap() > 0.0 && line["adapter"].is_string(),
            "{line}"
        );
    }
    let keys = [
        "bench",
        "case",
        "variant",
        "median_ms",
        "cpu_ms",
        "gflops",
        "gflops_per_cpu_s",
        "gbytes_per_s",
        "peak_gpu_bytes",
    ];
    for (line, key) in lines.iter().flat_map(|line| {
        keys.iter()
            .chain(&["peak_rss_bytes", "adapter"])
            .map(move |key| (line, key))
    }) {
        assert!(
            line.as_object().unwrap().contains_key(*key),
            "no {key} in {line}"
        );
    }
    let step = lines.iter().find(|line| line["variant"] == "step").unwrap();
    assert!(
        step["gflops_per_cpu_s"].as_f64().unwrap() > 0.0
            && step["kernels"][0]["ms"].as_f64().unwrap() > 0.0,
        "{step}"
    );
    std::fs::write(dir.path().join("before.json"), &printed).unwrap();
    let again = succeeds(&seemore(
        dir.path(),
        &[
            "bench",
            "layernorm",
            "--preset",
            "tiny",
            "--batch-size",
            "2",
            "--against",
            "before.json",
        ],
    ));
    assert!(again.contains("of the earlier run"), "{again}");
    let against = [
        "bench",
        "layernorm",
        "--preset",
        "tiny",
        "--batch-size",
        "2",
        "--json",
        "--against",
    ];
    let again = |file: &str| {
        serde_json::from_str::<serde_json::Value>(&succeeds(&seemore(
            dir.path(),
            &[&against[..], &[file]].concat(),
        )))
    };
    let line = again("before.json").unwrap();
    assert!(
        line["time_ratio"].as_f64().unwrap() > 0.0 && line["cpu_ratio"].as_f64().unwrap() > 0.0,
        "{line}"
    );
    // results of another adapter are not compared
    let elsewhere = printed.replace("\"adapter\":\"", "\"adapter\":\"another ");
    std::fs::write(dir.path().join("elsewhere.json"), elsewhere).unwrap();
    assert!(again("elsewhere.json").unwrap().get("time_ratio").is_none());
    fails(
        &seemore(dir.path(), &["bench", "--against", "absent.json"]),
        1,
        &["absent.json"],
    );
    fails(
        &seemore(dir.path(), &["bench", "--shape", "3x4"]),
        1,
        &["--shape"],
    );
}

#[test]
fn export_of_other_arithmetic_needs_force() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    let run = |args: &[&str]| seemore(dir.path(), args);
    succeeds(&run(&[
        "train", "--data", "squares", "--preset", "tiny", "--steps", "1", "--out", "model",
    ]));
    let export = ["export", "model", "--out", "state.safetensors"];
    fails(
        &run(&export),
        1,
        &["other logits", "attention_scale", "residual", "--force"],
    );
    assert!(!dir.path().join("state.safetensors").exists());
    let output = run(&[&export[..], &["--force"]].concat());
    succeeds(&output);
    assert!(stderr(&output).contains("other logits"));

    let config = dir.path().join("model/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"cls\"", "\"patches\"")).unwrap();
    fails(
        &run(&["export", "model", "--out", "other.safetensors", "--force"]),
        1,
        &["structure", "visual tokens"],
    );
}

#[test]
fn attention_pictures_are_not_overwritten_unasked() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    let run = |args: &[&str]| {
        seemore(
            dir.path(),
            &[&["caption", "--model", "model", "--max-tokens", "2"], args].concat(),
        )
    };
    succeeds(&seemore(
        dir.path(),
        &[
            "train", "--data", "squares", "--preset", "tiny", "--steps", "1", "--out", "model",
        ],
    ));
    let picture = "squares/red0.png";
    let before = std::fs::read(dir.path().join(picture)).unwrap();
    fails(
        &run(&[
            picture,
            "--attention",
            "squares/../squares/red0.png",
            "--overwrite",
        ]),
        1,
        &["red0.png", "another name"],
    );
    assert_eq!(std::fs::read(dir.path().join(picture)).unwrap(), before);
    fails(
        &run(&[picture, "--attention", "look.jpg"]),
        1,
        &["look.jpg", ".png"],
    );
    succeeds(&run(&[picture, "--attention", "look.png"]));
    fails(
        &run(&[picture, "--attention", "look.png"]),
        1,
        &["look.png", "--overwrite"],
    );
    succeeds(&run(&[picture, "--attention", "look.png", "--overwrite"]));

    std::fs::copy(
        dir.path().join(picture),
        dir.path().join("squares/red0.gif"),
    )
    .unwrap();
    succeeds(&run(&[
        picture,
        "squares/red0.gif",
        "--attention",
        "look.png",
    ]));
    assert!(
        dir.path().join("red0.png-look.png").is_file()
            && dir.path().join("red0.gif-look.png").is_file()
    );
    fails(
        &run(&[picture, picture, "--attention", "twice.png"]),
        1,
        &["two pictures"],
    );
}

#[test]
fn prompts_and_lengths_are_checked_before_output() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    succeeds(&seemore(
        dir.path(),
        &[
            "train", "--data", "squares", "--preset", "tiny", "--steps", "1", "--out", "model",
        ],
    ));
    let caption = ["caption", "squares/red0.png", "--model", "model"];
    let run = |args: &[&str]| seemore(dir.path(), &[&caption, args].concat());
    let output = run(&["--prompt", "rZd", "--max-tokens", "18446744073709551615"]);
    assert!(succeeds(&output).starts_with("rZd"));
    assert!(
        stderr(&output).contains("vocabulary lacks") && stderr(&output).contains("\"Z\""),
        "{}",
        stderr(&output)
    );
    let output = run(&["--prompt", &"red ".repeat(50)]);
    fails(&output, 1, &["room"]);
    assert_eq!(stdout(&output), "");
    let output = run(&["--attention", "absent/look.png", "--max-tokens", "1"]);
    fails(&output, 1, &["no folder absent"]);

    let mut child = spawn(dir.path(), &caption);
    // no one reads the output
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    succeeds(&output);
    assert!(
        !stderr(&output).contains("Broken pipe"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn import_refuses_doubles() {
    let dir = tempfile::tempdir().unwrap();
    let header = r#"{"decoder.ln_f.bias":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}"#;
    let bytes = [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &[0; 16],
    ]
    .concat();
    std::fs::write(dir.path().join("double.safetensors"), bytes).unwrap();
    let output = seemore(
        dir.path(),
        &["import", "double.safetensors", "--out", "model"],
    );
    fails(
        &output,
        1,
        &[
            "double.safetensors",
            "decoder.ln_f.bias",
            "F64",
            "convert it to float32",
        ],
    );
}

#[test]
fn overlapping_data_are_refused_unless_allowed() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    squares(&dir.path().join("val"), 1);
    let train = |data: &[&str], more: &[&str]| {
        seemore(
            dir.path(),
            &[
                &["train", "--preset", "tiny", "--steps", "1", "--data"],
                data,
                more,
            ]
            .concat(),
        )
    };
    let words = [
        "4 training pictures are also validation pictures, 4 of them equal to the pixel",
        "squares/blue0.png equals val/blue0.png",
        "--allow-overlap",
    ];
    fails(&train(&["squares"], &["--val-data", "val"]), 1, &words);
    fails(
        &train(&["val"], &["--val-data", "squares", "--allow-overlap"]),
        1,
        &["no picture is left to train on"],
    );
    let output = train(
        &["squares"],
        &["--val-data", "val", "--allow-overlap", "--out", "out"],
    );
    assert!(succeeds(&output).contains("of 4 captions"));
    let said = stderr(&output);
    assert!(
        said.contains("4 are left out of training")
            && said.contains("4 training pictures, 4 validation pictures"),
        "{said}"
    );
    // a resumed run keeps the permission
    succeeds(&seemore(
        dir.path(),
        &["train", "--resume", "out", "--steps", "2"],
    ));

    // a copy of another size and format, among several training files
    let drawing = RgbImage::from_fn(48, 48, |x, y| {
        if (x as i32 - 24).pow(2) + (y as i32 - 20).pow(2) < 200 {
            Rgb([200, 60, 60])
        } else {
            Rgb([255; 3])
        }
    });
    drawing.save(dir.path().join("val/ball.png")).unwrap();
    std::fs::write(dir.path().join("val/ball.txt"), "ball").unwrap();
    image::imageops::resize(&drawing, 80, 80, image::imageops::FilterType::Triangle)
        .save(dir.path().join("copy.jpg"))
        .unwrap();
    std::fs::write(
        dir.path().join("more.jsonl"),
        r#"{"image": "copy.jpg", "captions": ["ball", "a ball"]}"#,
    )
    .unwrap();
    let words = [
        "5 training pictures",
        "4 of them equal to the pixel",
        "more.jsonl line 1 nearly equals val/ball.png",
    ];
    fails(
        &train(&["squares", "more.jsonl"], &["--val-data", "val"]),
        1,
        &words,
    );
    fails(
        &train(&["squares,more.jsonl"], &["--val-data", "val"]),
        1,
        &words,
    );
    fails(
        &train(&["squares"], &["--data", "more.jsonl", "--val-data", "val"]),
        1,
        &words,
    );
}

#[test]
fn captions_beyond_the_context_are_named() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    std::fs::write(dir.path().join("squares/red1.txt"), "r".repeat(200)).unwrap();
    let output = seemore(
        dir.path(),
        &[
            "train",
            "--data",
            "squares",
            "--val-split",
            "0",
            "--preset",
            "tiny",
            "--steps",
            "1",
        ],
    );
    succeeds(&output);
    assert!(
        stderr(&output).contains("red1.png") && stderr(&output).contains("201 positions"),
        "{}",
        stderr(&output)
    );
    let strict = [
        "train",
        "--data",
        "squares",
        "--val-split",
        "0",
        "--preset",
        "tiny",
        "--steps",
        "1",
        "--strict",
    ];
    fails(&seemore(dir.path(), &strict), 1, &["red1.png", "--strict"]);
}

#[test]
fn data_stats_count_and_draw() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    let lines = "{\"image\": \"red0.png\", \"captions\": [\"red\", \"A Red, round thing!\"], \"concept\": \"colour\"}\n{\"image\": \"red0.png\", \"caption\": \"rouge\"}\n{\"image\": \"lost.png\", \"caption\": \"x\"}\n";
    std::fs::write(dir.path().join("lines.jsonl"), lines).unwrap();
    let stats = |more: &[&str]| {
        seemore(
            dir.path(),
            &[
                &[
                    "data",
                    "stats",
                    "squares",
                    "lines.jsonl",
                    "--images",
                    "squares",
                ],
                more,
            ]
            .concat(),
        )
    };
    let mut found: serde_json::Value =
        serde_json::from_str(&succeeds(&stats(&["--json"]))).unwrap();
    for file in found["files"].as_array_mut().unwrap() {
        // depends on the encoder of the pictures
        assert!(file["bytes"].take().as_u64().unwrap() > 200);
    }
    let spread = |min: u32, median: u32, max: u32| serde_json::json!({"min": min, "median": median, "max": max});
    let pair = |ids: [&str; 2], captions: [&str; 2]| serde_json::json!({"ids": ids, "captions": captions, "likeness": "exact"});
    let wanted = serde_json::json!({
        "files": [{
            "file": "squares", "format": "folder", "bytes": null, "pictures": 4, "width": spread(20, 20, 20), "height": spread(24, 24, 24),
            "captions": 4, "captions_a_picture": spread(1, 1, 1), "words": spread(1, 1, 1), "characters": spread(3, 4, 5),
            "distinct_captions": 4, "vocabulary": 4, "distinct_characters": 9,
            "most_frequent": [["blue", 1], ["green", 1], ["grey", 1], ["red", 1]], "distinct_concepts": 0, "without_concept": 4,
            "repeats": {"exact": 0, "near": 0, "same_caption": 0, "examples": []}, "left_out": 0, "problems": [],
        }, {
            "file": "lines.jsonl", "format": "jsonl", "bytes": null, "pictures": 2, "width": spread(20, 20, 20), "height": spread(24, 24, 24),
            "captions": 3, "captions_a_picture": spread(1, 1, 2), "words": spread(1, 1, 4), "characters": spread(3, 5, 19),
            "distinct_captions": 3, "vocabulary": 5, "distinct_characters": 15,
            "most_frequent": [["A Red, round thing!", 1], ["red", 1], ["rouge", 1]], "distinct_concepts": 1, "without_concept": 1,
            "repeats": {"exact": 1, "near": 0, "same_caption": 0, "examples": [pair(["lines.jsonl line 2", "lines.jsonl line 1"], ["rouge", "red"])]},
            "left_out": 1, "problems": ["lines.jsonl line 3: its picture lost.png is not in squares"],
        }],
        "across": [{
            "file": "lines.jsonl", "other": "squares", "exact": 2, "near": 0, "same_caption": 1,
            "examples": [
                pair(["lines.jsonl line 1", "squares/red0.png"], ["red", "red"]),
                pair(["lines.jsonl line 2", "squares/red0.png"], ["rouge", "red"]),
            ],
        }],
    });
    assert_eq!(found, wanted, "{found:#}");

    let printed = succeeds(&stats(&["--sheet", "sheet.png"]));
    for words in [
        "4 (folder, ",
        "2 (jsonl, ",
        "1 exact, 0 nearly equal",
        "lines.jsonl has pictures of squares: 2 exact",
        "lost.png",
    ] {
        assert!(printed.contains(words), "no `{words}` in\n{printed}");
    }
    let sheet = image::open(dir.path().join("sheet.png"))
        .unwrap()
        .into_rgb8();
    // six tiles in a row, the last one red
    assert_eq!(sheet.width(), 8 + 6 * (112 + 8));
    assert_eq!(sheet.get_pixel(sheet.width() - 50, 50).0, [220, 30, 30]);
    fails(
        &stats(&["--sheet", "sheet.png"]),
        1,
        &["sheet.png", "--overwrite"],
    );
    fails(&stats(&["--sheet", "sheet.jpg"]), 1, &["sheet.jpg", ".png"]);
    fails(
        &seemore(dir.path(), &["data", "stats", "absent.json"]),
        1,
        &["absent.json"],
    );
}

#[test]
fn too_many_patches_for_the_adapter_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    let config = r#"{"image_size": 100, "patch_size": 1, "context": 20000, "vision_width": 32, "width": 32}"#;
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    let output = seemore(
        dir.path(),
        &[
            "train",
            "--data",
            "squares",
            "--config",
            "config.json",
            "--steps",
            "1",
            "--batch-size",
            "1",
        ],
    );
    // an adapter without that limit may train
    if !output.status.success() {
        fails(&output, 3, &["10001 tokens in the image encoder"]);
    }
}

#[test]
fn a_packed_checkpoint_is_smaller_and_equivalent() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 3);
    let train = [
        "train",
        "--preset",
        "tiny",
        "--data",
        "squares",
        "--val-split",
        "0",
        "--steps",
        "3",
        "--out",
        "run",
    ];
    succeeds(&seemore(dir.path(), &train));
    succeeds(&seemore(dir.path(), &["pack", "run", "--out", "packed"]));
    let size = |folder: &str| {
        std::fs::metadata(dir.path().join(folder).join("model.safetensors"))
            .unwrap()
            .len()
    };
    assert!(size("packed") < size("run") * 6 / 10);
    let eval = |model: &str| {
        let output = seemore(
            dir.path(),
            &["eval", "--data", "squares", "--model", model, "--json"],
        );
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["perplexity"]
            .as_f64()
            .unwrap()
    };
    let (whole, packed) = (eval("run"), eval("packed"));
    assert!(
        (whole / packed - 1.0).abs() < 0.01,
        "perplexity {whole}, packed {packed}"
    );
    fails(
        &seemore(dir.path(), &["pack", "run", "--out", "packed"]),
        1,
        &["packed already holds a checkpoint", "--overwrite"],
    );
    // a packed run can be repeated but not resumed
    fails(
        &seemore(dir.path(), &["train", "--resume", "packed"]),
        1,
        &["packed", "no states/"],
    );
    succeeds(&seemore(
        dir.path(),
        &["train", "--like", "packed", "--out", "again"],
    ));
    let values =
        |folder: &str| std::fs::read(dir.path().join(folder).join("model.safetensors")).unwrap();
    assert!(
        values("again") == values("run"),
        "the repeated training gave other values"
    );
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
