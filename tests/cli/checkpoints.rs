//! `seemore import`, `export` and `pack`.

use super::*;

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
