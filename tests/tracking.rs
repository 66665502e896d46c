//! Tracking output. `make test-mlflow` tests it against a real MLflow server and TensorBoard's own
//! reader.

mod common;

use common::{fails, losses, seemore, squares, stderr, succeeds};

const TINY: [&str; 11] = [
    "train",
    "--data",
    "squares",
    "--preset",
    "tiny",
    "--log-every",
    "1",
    "--val-split",
    "0",
    "--dropout",
    "0.1",
];

#[test]
fn tracking_changes_no_result_and_a_dead_server_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    let train = |more: &[&str]| seemore(dir.path(), &[&TINY[..], more].concat());
    let plain = losses(&succeeds(&train(&[
        "--steps", "6", "--json", "--out", "plain",
    ])));
    // no server listens at that port
    let tracked = [
        "--track",
        "mlflow=http://127.0.0.1:9",
        "--track",
        "csv=rows.csv",
        "--track",
        "tensorboard=board",
    ];
    let output = train(
        &[
            &["--steps", "6", "--json", "--out", "tracked"],
            &tracked[..],
        ]
        .concat(),
    );
    assert_eq!(losses(&succeeds(&output)), plain);
    let text = stderr(&output);
    assert!(
        text.contains("not all data were sent to http://127.0.0.1:9")
            && text.contains("seemore track tracked"),
        "{text}"
    );
    let model = |run: &str| std::fs::read(dir.path().join(run).join("model.safetensors")).unwrap();
    assert!(
        model("plain") == model("tracked"),
        "tracking changed the model"
    );
    fails(
        &seemore(dir.path(), &["track", "tracked"]),
        1,
        &["127.0.0.1:9", "kept"],
    );
    fails(
        &seemore(dir.path(), &["track", "plain"]),
        1,
        &["tracking/mlflow.jsonl", "--track"],
    );

    // one JSON object per line; lines of metrics have a step
    let spool = std::fs::read_to_string(dir.path().join("tracked/tracking/mlflow.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = spool
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let steps: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["step"].as_u64())
        .collect();
    assert_eq!(
        (
            steps,
            lines[0]["kind"].as_str(),
            lines.last().unwrap()["status"].as_str()
        ),
        ((1..=6).collect(), Some("begin"), Some("FINISHED"))
    );
    let board: Vec<_> = std::fs::read_dir(dir.path().join("board"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let events = std::fs::read(&board[0]).unwrap();
    assert!(
        board.len() == 1
            && events.windows(13).any(|part| part == b"brain.Event:2")
            && events.windows(4).filter(|part| part == b"loss").count() >= 6
    );
}

#[test]
fn a_silent_server_does_not_block_the_end() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    // accepts connections and never answers
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("mlflow=http://{}", silent.local_addr().unwrap());
    let output = seemore(
        dir.path(),
        &[
            &TINY[..],
            &["--steps", "3", "--out", "run", "--track", &target],
        ]
        .concat(),
    );
    succeeds(&output);
    // the connection stays open, so the program ended because it stopped waiting
    assert!(
        stderr(&output).contains("did not answer in time")
            && stderr(&output).contains("seemore track run"),
        "{}",
        stderr(&output)
    );
    drop(silent);
}

#[test]
fn csv_rows_continue_on_resume_and_are_not_overwritten_unasked() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    let rows = || {
        let mut reader = csv::Reader::from_path(dir.path().join("rows.csv")).unwrap();
        let headers = reader.headers().unwrap().clone();
        let at = |name: &str| headers.iter().position(|header| header == name).unwrap();
        let (step, loss) = (at("step"), at("loss"));
        reader
            .records()
            .map(|row| row.unwrap())
            .map(|row| {
                (
                    row[step].parse().unwrap(),
                    row[loss].parse::<f64>().unwrap() as f32,
                )
            })
            .collect::<Vec<(u64, f32)>>()
    };
    let track = ["--track", "csv=rows.csv"];
    let whole = losses(&succeeds(&seemore(
        dir.path(),
        &[
            &TINY[..],
            &[
                "--steps",
                "8",
                "--json",
                "--schedule",
                "constant",
                "--out",
                "whole",
            ],
        ]
        .concat(),
    )));
    // both are printed as f32
    let whole: Vec<(u64, f32)> = whole
        .into_iter()
        .map(|(step, loss)| (step, loss as f32))
        .collect();
    let first = [
        &TINY[..],
        &["--steps", "5", "--schedule", "constant", "--out", "run"],
        &track,
    ]
    .concat();
    succeeds(&seemore(dir.path(), &first));
    assert_eq!(rows(), whole[..5]);
    // rows of lost steps are written again
    let mut text = std::fs::read_to_string(dir.path().join("rows.csv")).unwrap();
    text.push_str("6,9.9,123,1,1,1,0,,,1,1,1\n");
    std::fs::write(dir.path().join("rows.csv"), text).unwrap();
    succeeds(&seemore(
        dir.path(),
        &[&["train", "--resume", "run", "--steps", "8"], &track[..]].concat(),
    ));
    assert_eq!(rows(), whole);
    let again = [&TINY[..], &["--steps", "2", "--out", "again"], &track].concat();
    fails(
        &seemore(dir.path(), &again),
        1,
        &["rows.csv already exists", "--overwrite"],
    );
    assert_eq!(rows(), whole);
    let every = [
        &TINY[..],
        &[
            "--steps",
            "7",
            "--out",
            "every",
            "--track-every",
            "3",
            "--overwrite",
        ],
        &track,
    ]
    .concat();
    succeeds(&seemore(dir.path(), &every));
    assert_eq!(
        rows().iter().map(|row| row.0).collect::<Vec<_>>(),
        [1, 4, 7]
    );
    fails(
        &seemore(
            dir.path(),
            &["train", "--data", "squares", "--track", "wandb=x"],
        ),
        2,
        &["csv=FILE"],
    );
}
