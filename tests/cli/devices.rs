//! Adapters, `seemore doctor` and `seemore bench`.

use super::*;

/// `seemore` on a system without graphics drivers.
fn without_drivers(dir: &Path, args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_seemore"))
        .args(args)
        .env("VK_DRIVER_FILES", "/nonexistent")
        .env("VK_ICD_FILENAMES", "/nonexistent")
        .env_remove("SEEMORE_DEVICE")
        .current_dir(dir)
        .output()
        .unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn the_cpu_trains_and_captions_without_a_graphics_driver() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 4);
    let run = |args: &[&str]| without_drivers(dir.path(), args);
    let train = ["train", "--data", "squares", "--preset", "tiny", "--steps"];
    let rest = ["60", "--no-augment", "--out", "model"];
    let output = run(&[&train[..], &rest].concat());
    succeeds(&output);
    assert!(stderr(&output).contains("(CPU, "), "{}", stderr(&output));
    let caption = run(&["caption", "squares/red0.png", "--model", "model"]);
    assert!(succeeds(&caption).contains("red"), "{}", stdout(&caption));
    let listed = succeeds(&run(&["devices", "--no-speed"]));
    assert!(listed.contains("* cpu"), "{listed}");
    let output = run(&[&train[..], &["1", "--device", "gpu"]].concat());
    fails(&output, 2, &["no graphics adapter", "install", "--device"]);
}

#[test]
fn devices_are_listed_with_their_speed() {
    let dir = tempfile::tempdir().unwrap();
    let printed = succeeds(&seemore(dir.path(), &["devices", "--json"]));
    let lines: Vec<serde_json::Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines.iter().any(|line| line["device"] == "cpu"),
        "{printed}"
    );
    assert!(lines.iter().any(|line| line["device"] == "0"), "{printed}");
    for line in &lines {
        assert!(line["gflops"].as_f64().unwrap() > 0.0, "{printed}");
    }
    let chosen = lines.iter().filter(|line| line["auto"] == true).count();
    assert_eq!(chosen, 1, "{printed}");
}

#[test]
fn an_unknown_device_exits_with_2_and_lists_those_that_are_here() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 1);
    let args = ["train", "--data", "squares", "--device", "no such device"];
    let output = seemore(dir.path(), &args);
    fails(&output, 2, &["no such device", "cpu: "]);
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
        fails(&output, 1, &["cannot write to", "file/cache"]);
        assert!(stdout(&output).contains("none: the CPU does all the work"));
    }
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
        "encode",
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
        "encode",
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
