//! Nothing is lost, and nothing silent: locks, signals, saves by time, weights that are no numbers.

use std::process::Child;
use std::time::{Duration, Instant};

use super::*;

/// Arguments of a training of squares.
fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let args = [
        "train",
        "--data",
        "squares",
        "--preset",
        "tiny",
        "--no-augment",
        "--val-split",
        "0",
    ];
    [&args[..], more].concat()
}

/// Waits until a file is there.
#[track_caller]
fn wait_for(child: &mut Child, path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{} does not come",
            path.display()
        );
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before {}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal by its name.
#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    let done = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status();
    assert!(done.unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_folder_in_use_is_refused_and_free_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    let long = train(&["--steps", "1000000", "--save-every", "20", "--out", "m"]);
    let mut first = spawn(dir.path(), &long);
    wait_for(&mut first, &dir.path().join("m/model.safetensors"));
    let holder = format!("process {}", first.id());
    for arguments in [
        train(&["--steps", "2", "--out", "m"]),
        train(&["--steps", "2", "--out", "m", "--overwrite"]),
        vec!["train", "--resume", "m", "--steps", "1000001"],
    ] {
        let output = seemore(dir.path(), &arguments);
        fails(
            &output,
            1,
            &["m is in use by another training", &holder, "--out"],
        );
    }
    // the first is not disturbed
    assert!(first.try_wait().unwrap().is_none());
    first.kill().unwrap();
    first.wait().unwrap();
    // the lock of a process that died is free
    let resumed = seemore(dir.path(), &["train", "--resume", "m", "--max-time", "1s"]);
    succeeds(&resumed);
    succeeds(&seemore(
        dir.path(),
        &train(&["--steps", "2", "--out", "m", "--overwrite"]),
    ));
    assert!(!dir.path().join("m/.lock").exists());
}

#[cfg(unix)]
#[test]
fn signals_that_end_a_session_save_as_ctrl_c_does() {
    for name in ["TERM", "HUP", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        squares(&dir.path().join("squares"), 1);
        let long = train(&["--steps", "1000000", "--log-every", "1", "--out", "m"]);
        let mut child = spawn(dir.path(), &long);
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let step = lines.find(|line| line.as_ref().unwrap().starts_with("step 2/"));
        assert!(step.is_some());
        signal(&child, name);
        signal(&child, name);
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert!(child.wait().unwrap().success(), "{name}: {rest:?}");
        assert!(
            rest.last()
                .unwrap()
                .contains("continue with: train --resume m"),
            "{name}: {rest:?}"
        );
        assert_eq!(
            std::fs::read_dir(dir.path().join("m/states"))
                .unwrap()
                .count(),
            1
        );
        succeeds(&seemore(
            dir.path(),
            &["train", "--resume", "m", "--max-time", "1s"],
        ));
    }
}

#[test]
fn there_are_saves_by_time() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    let saved = |time: &str| {
        let _ = std::fs::remove_dir_all(dir.path().join("m"));
        let arguments = train(&[
            "--steps",
            "1000000",
            "--max-time",
            "2s",
            "--save-time",
            time,
            "--out",
            "m",
        ]);
        succeeds(&seemore(dir.path(), &arguments))
            .matches("  saved m")
            .count()
    };
    assert!(saved("0.3s") >= 3);
    assert_eq!(saved("0"), 1);
    let config = std::fs::read_to_string(dir.path().join("m/run.toml")).unwrap();
    assert!(config.contains("seconds = 0"), "{config}");
    succeeds(&seemore(
        dir.path(),
        &train(&["--save-config", "default.toml"]),
    ));
    let config = std::fs::read_to_string(dir.path().join("default.toml")).unwrap();
    assert!(config.contains("seconds = 300"), "{config}");
}

#[test]
fn rates_at_the_end_of_their_range_are_refused_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for flag in [
        "--beta2=1",
        "--beta2=-0.5",
        "--beta2=nan",
        "--ema=1",
        "--ema=1.5",
        "--label-smoothing=1",
        "--label-smoothing=0.99999999999",
        "--dropout=1",
        "--val-split=1",
    ] {
        let output = seemore(
            dir.path(),
            &["train", "--data", "absent", "--preset", "tiny", flag],
        );
        fails(
            &output,
            2,
            &["at least 0 and below 1", flag.split('=').next().unwrap()],
        );
    }
    for (topic, line, wanted) in [
        ("optimizer", "beta1 = 1.0", "optimizer.beta1 is 1"),
        ("optimizer", "beta2 = 1.0", "optimizer.beta2 is 1"),
        ("model", "dropout = 1.0", "model.dropout is 1"),
    ] {
        std::fs::write(dir.path().join("run.toml"), format!("[{topic}]\n{line}\n")).unwrap();
        fails(
            &seemore(dir.path(), &["train", "run.toml"]),
            1,
            &[wanted, "below 1"],
        );
    }
}

/// Replaces the values of a tensor, whose name ends so, in a safetensors file; drops its checksum.
fn poison(path: &Path, ending: &str, value: f32) -> String {
    let bytes = std::fs::read(path).unwrap();
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes[8..8 + size]).unwrap();
    header.remove("__metadata__");
    let name = header
        .keys()
        .find(|name| name.ends_with(ending))
        .unwrap()
        .clone();
    let start = header[&name]["data_offsets"][0].as_u64().unwrap() as usize;
    let mut data = bytes[8 + size..].to_vec();
    data[start..start + 4].copy_from_slice(&value.to_le_bytes());
    let header = serde_json::to_vec(&header).unwrap();
    std::fs::write(
        path,
        [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat(),
    )
    .unwrap();
    name
}

#[test]
fn weights_that_are_no_numbers_are_named_and_refused() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    succeeds(&seemore(
        dir.path(),
        &train(&["--steps", "1", "--out", "m"]),
    ));
    let file = dir.path().join("m/model.safetensors");
    let good = std::fs::read(&file).unwrap();
    for (ending, value) in [("weight", f32::NAN), ("bias", f32::INFINITY)] {
        std::fs::write(&file, &good).unwrap();
        let name = poison(&file, ending, value);
        let commands = [
            &["caption", "squares/red0.png", "--model", "m"][..],
            &["eval", "--data", "squares", "--model", "m"],
            &["export", "m", "--force", "--out", "x.safetensors"],
            &["pack", "m", "--out", "packed"],
            &[
                "train", "--data", "squares", "--preset", "tiny", "--steps", "1", "--load", "m",
                "--out", "n",
            ],
        ];
        for arguments in commands {
            fails(
                &seemore(dir.path(), arguments),
                1,
                &[&name, "NaN or infinite"],
            );
        }
    }
    // an import
    std::fs::write(&file, &good).unwrap();
    succeeds(&seemore(
        dir.path(),
        &["export", "m", "--force", "--out", "plain.safetensors"],
    ));
    let name = poison(
        &dir.path().join("plain.safetensors"),
        "lm_head.weight",
        f32::NAN,
    );
    fails(
        &seemore(dir.path(), &["import", "plain.safetensors", "--out", "i"]),
        1,
        &[&name, "NaN or infinite"],
    );
}

/// Puts a prefix before the names of tensors.
fn prefixed(from: &Path, to: &Path, prefix: &dyn Fn(usize) -> &'static str) {
    let bytes = std::fs::read(from).unwrap();
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes[8..8 + size]).unwrap();
    header.remove("__metadata__");
    let named = header.into_iter().enumerate();
    let header: serde_json::Map<String, serde_json::Value> = named
        .map(|(number, (name, value))| (format!("{}{name}", prefix(number)), value))
        .collect();
    let header = serde_json::to_vec(&header).unwrap();
    std::fs::write(
        to,
        [
            &(header.len() as u64).to_le_bytes()[..],
            &header,
            &bytes[8 + size..],
        ]
        .concat(),
    )
    .unwrap();
}

#[test]
fn state_dicts_of_wrappers_import_as_without_them() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    succeeds(&seemore(
        dir.path(),
        &train(&["--steps", "1", "--out", "m"]),
    ));
    succeeds(&seemore(
        dir.path(),
        &["export", "m", "--force", "--out", "plain.safetensors"],
    ));
    let import = |file: &str, out: &str| seemore(dir.path(), &["import", file, "--out", out]);
    succeeds(&import("plain.safetensors", "i"));
    let model =
        |folder: &str| std::fs::read(dir.path().join(folder).join("model.safetensors")).unwrap();
    let (plain, wrapped) = (
        dir.path().join("plain.safetensors"),
        dir.path().join("w.safetensors"),
    );
    for (number, prefix) in [
        "module.",
        "_orig_mod.",
        "_orig_mod.module.",
        "model.",
        "net.wrapped.0.",
    ]
    .into_iter()
    .enumerate()
    {
        prefixed(&plain, &wrapped, &|_| prefix);
        let out = format!("i{number}");
        let output = import("w.safetensors", &out);
        succeeds(&output);
        assert!(
            stderr(&output).contains(&format!("the prefix `{prefix}`")),
            "{}",
            stderr(&output)
        );
        assert!(model(&out) == model("i"), "{prefix}");
    }
    // not all of them have it
    prefixed(&plain, &wrapped, &|number| {
        if number == 0 { "other." } else { "module." }
    });
    fails(&import("w.safetensors", "x"), 1, &["w.safetensors"]);
}

#[test]
fn tokenizers_of_other_programs_train_and_caption() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    let alphabet = "abcdefghijklmnopqrstuvwxyz\u{120}";
    let mut vocab = serde_json::Map::new();
    for (id, token) in ["<|endoftext|>", "<stop>", "<fill>"]
        .into_iter()
        .map(str::to_owned)
        .chain(alphabet.chars().map(String::from))
        .enumerate()
    {
        vocab.insert(token, id.into());
    }
    let added: Vec<_> = ["<|endoftext|>", "<stop>", "<fill>"]
        .iter()
        .enumerate()
        .map(|(id, token)| serde_json::json!({"id": id, "content": token, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}))
        .collect();
    let bytes = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let file = serde_json::json!({"version": "1.0", "added_tokens": added, "pre_tokenizer": bytes, "decoder": bytes, "model": {"type": "BPE", "vocab": vocab, "merges": []}});
    std::fs::write(dir.path().join("t.json"), file.to_string()).unwrap();
    for (out, more) in [
        ("usual", &[][..]),
        ("named", &["--pad-token", "<fill>", "--eos-token", "<stop>"]),
    ] {
        let arguments = train(
            &[
                &["--steps", "60", "--tokenizer", "t.json", "--out", out],
                more,
            ]
            .concat(),
        );
        succeeds(&seemore(dir.path(), &arguments));
        let caption = succeeds(&seemore(
            dir.path(),
            &["caption", "squares/red0.png", "--model", out],
        ));
        assert_eq!(caption, "red\n", "{out}");
        // resumed with the same tokens
        succeeds(&seemore(
            dir.path(),
            &["train", "--resume", out, "--steps", "61"],
        ));
    }
    let bad = train(&[
        "--steps",
        "1",
        "--tokenizer",
        "t.json",
        "--pad-token",
        "<absent>",
        "--out",
        "x",
    ]);
    fails(
        &seemore(dir.path(), &bad),
        1,
        &["t.json", "\"<absent>\"", "padding"],
    );
    let bad = train(&["--steps", "1", "--eos-token", "<stop>", "--out", "x"]);
    fails(&seemore(dir.path(), &bad), 1, &["--eos-token"]);
}
