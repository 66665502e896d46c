//! Training survives kills at any moment, full disks, damaged files, non-finite values and
//! impatient users.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output};
use std::time::{Duration, Instant};

use common::{cache, fails, losses, seemore, spawn, squares, stderr, succeeds};

/// Flags of a training of the smallest model; dropout and augmentation make it depend on the state
/// of every generator.
const TINY: [&str; 14] = [
    "--data",
    "squares",
    "--preset",
    "tiny",
    "--batch-size",
    "4",
    "--dropout",
    "0.1",
    "--ema",
    "0.9",
    "--log-every",
    "1",
    "--seed",
    "7",
];

fn train(dir: &Path, more: &[&str]) -> Output {
    seemore(dir, &[&["train"], &TINY[..], more].concat())
}

/// Random generator (Marsaglia's xorshift), for repeatable tests.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Reads the output of a training to its end, or kills it once `time` has passed since its first
/// loss and `now` is true. Returns the losses and whether it was killed.
fn killed_after(
    mut child: Child,
    time: Duration,
    now: impl Fn() -> bool,
) -> (Vec<(u64, f64)>, bool) {
    let mut out: BufReader<ChildStdout> = BufReader::new(child.stdout.take().unwrap());
    let mut printed = String::new();
    // the first line comes with the first step
    out.read_line(&mut printed).unwrap();
    let reader = std::thread::spawn(move || {
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        rest
    });
    let start = Instant::now();
    let mut ended = None;
    while ended.is_none() && (start.elapsed() < time || !now()) {
        std::thread::sleep(Duration::from_micros(50));
        ended = child.try_wait().unwrap();
    }
    let killed = ended.is_none();
    // SIGKILL
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(killed || status.success(), "{}", status);
    printed += &reader.join().unwrap();
    // the last line may be cut off
    let whole = printed.rfind('\n').map_or("", |end| &printed[..=end]);
    (losses(whole), killed)
}

#[test]
fn kills_do_not_change_losses() {
    survives(20, 3, &[]);
}

#[test]
fn kills_do_not_change_losses_in_half_precision() {
    survives(6, 1, &["--precision", "f16", "--accumulate", "2"]);
}

/// Kills and resumes a training until it was killed at least this often, in total and inside a
/// save, and compares it with an uninterrupted one.
fn survives(least_kills: u32, least_in_saves: u32, more: &[&str]) {
    const STEPS: u64 = 150;
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 3);
    let steps = STEPS.to_string();
    // a save after every step, so that many kills fall into one
    let flags = [
        &[
            "--steps",
            &steps,
            "--save-every",
            "1",
            "--eval-every",
            "20",
            "--json",
        ],
        more,
    ]
    .concat();
    let whole = losses(&succeeds(&train(
        dir.path(),
        &[&flags[..], &["--out", "whole"]].concat(),
    )));
    assert_eq!(whole.len() as u64, STEPS);

    let mut state = 0x5EE_3043_u64;
    let (mut kills, mut in_saves, mut seen, mut rounds) = (0, 0, vec![], 0);
    let killed_dir = dir.path().join("killed");
    let states = killed_dir.join("states");
    let done = || states.join(format!("step-{STEPS:08}.safetensors")).exists();
    let goes_on = |done: bool| {
        // a run killed before its first save cannot be resumed, though the states of the run before
        // it are kept
        let saved = std::fs::read_dir(&states).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.path().extension().unwrap() == "safetensors")
        });
        let out = ["--out", "killed", "--overwrite"];
        if done || !saved {
            [&["train"], &TINY[..], &flags, &out].concat()
        } else {
            vec!["train", "--resume", "killed", "--json"]
        }
    };
    while kills < least_kills || in_saves < least_in_saves {
        // a finished run starts again, so that there is always something to kill
        let arguments = goes_on(done());
        // files being written, with the time of the last write; a kill leaves them to the next
        // run's first save
        let parts = || {
            let entries = [&states, &killed_dir]
                .into_iter()
                .filter_map(|folder| std::fs::read_dir(folder).ok())
                .flatten()
                .flatten();
            let parts = entries
                .map(|entry| entry.path())
                .filter(|path| path.to_string_lossy().ends_with(".part"));
            parts
                .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
                .collect::<Vec<_>>()
        };
        let before = parts();
        let in_save = || parts().iter().any(|part| !before.contains(part));
        // every third run is killed in a save
        let watched = rounds % 3 == 2;
        let time = Duration::from_micros(random(&mut state) % 400_000);
        let (lines, killed) = killed_after(spawn(dir.path(), &arguments), time, || {
            !watched || in_save()
        });
        for line in &lines {
            assert!(
                whole.contains(line),
                "step {} has the loss {}, and {:?} without kills",
                line.0,
                line.1,
                whole[line.0 as usize - 1]
            );
        }
        seen.extend(lines);
        kills += killed as u32;
        in_saves += (killed && in_save()) as u32;
        rounds += 1;
        assert!(
            rounds < 200,
            "{kills} kills, {in_saves} inside a save, in {rounds} rounds"
        );
    }
    let last = if done() {
        vec![]
    } else {
        losses(&succeeds(&seemore(dir.path(), &goes_on(false))))
    };
    assert!(last.iter().all(|line| whole.contains(line)));
    let file =
        |folder: &str| std::fs::read(dir.path().join(folder).join("model.safetensors")).unwrap();
    assert!(
        file("whole") == file("killed"),
        "the models differ after {kills} kills"
    );
    assert_eq!(
        std::fs::read_dir(&states).unwrap().count(),
        2,
        "two states are kept, and nothing else"
    );
    println!(
        "{kills} kills survived, {in_saves} of them inside a save; {} losses compared",
        seen.len() + last.len()
    );
}

#[test]
fn a_run_stays_until_its_replacement_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    succeeds(&train(dir.path(), &["--steps", "3", "--out", "run"]));
    // as left by a kill during the first save
    std::fs::rename(
        dir.path().join("run/states"),
        dir.path().join("run/states.old"),
    )
    .unwrap();
    std::fs::create_dir(dir.path().join("run/states")).unwrap();
    std::fs::write(
        dir.path().join("run/states/step-00000001.safetensors.part"),
        "half",
    )
    .unwrap();
    succeeds(&seemore(
        dir.path(),
        &["train", "--resume", "run", "--steps", "4"],
    ));
    assert!(
        dir.path()
            .join("run/states/step-00000004.safetensors")
            .is_file()
            && !dir.path().join("run/states.old").exists()
    );
    // the replacement has fewer steps and is the one to resume
    succeeds(&train(
        dir.path(),
        &["--steps", "2", "--out", "run", "--overwrite"],
    ));
    let left: Vec<_> = std::fs::read_dir(dir.path().join("run/states"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["step-00000002.safetensors"]);
}

#[test]
fn damaged_states_are_named_with_the_state_before() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    succeeds(&train(
        dir.path(),
        &["--steps", "6", "--save-every", "4", "--out", "run"],
    ));
    let path = dir.path().join("run/states/step-00000006.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let resume = || seemore(dir.path(), &["train", "--resume", "run", "--steps", "8"]);
    let words = ["run", "step-00000006.safetensors", "move it away", "step 4"];
    for cut in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        fails(&resume(), 1, &words);
    }
    // one bit of a number
    let mut changed = whole.clone();
    changed[whole.len() - 1000] ^= 4;
    std::fs::write(&path, &changed).unwrap();
    fails(&resume(), 1, &[&words[..], &["checksum"]].concat());
    // a model is not a state
    std::fs::copy(dir.path().join("run/model.safetensors"), &path).unwrap();
    fails(&resume(), 1, &["not the state of a training"]);
    std::fs::remove_file(&path).unwrap();
    assert!(
        stderr(&resume()).contains("first step"),
        "step 4 was not resumed"
    );
    assert!(path.with_file_name("step-00000008.safetensors").is_file());

    let model = dir.path().join("run/model.safetensors");
    let mut bytes = std::fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&model, &bytes).unwrap();
    fails(
        &seemore(
            dir.path(),
            &["caption", "squares/red1.png", "--model", "run"],
        ),
        1,
        &["model.safetensors", "checksum"],
    );
}

/// Limits files to 600 blocks of 512 bytes, less than a state, to act as a full disk.
#[test]
#[cfg(unix)]
fn a_failed_save_keeps_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    succeeds(&train(dir.path(), &["--steps", "4", "--out", "run"]));
    let before = std::fs::read(dir.path().join("run/model.safetensors")).unwrap();
    let output = train_after(
        dir.path(),
        "trap '' XFSZ; ulimit -f 600",
        "--resume run --steps 10 --save-every 2",
    );
    fails(
        &output,
        1,
        &[
            "NOT SAVED",
            "training continues",
            "cannot write run/states/step-00000010.safetensors",
        ],
    );
    assert!(before == std::fs::read(dir.path().join("run/model.safetensors")).unwrap());
    let left: Vec<_> = std::fs::read_dir(dir.path().join("run/states"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["step-00000004.safetensors"]);
    succeeds(&seemore(
        dir.path(),
        &["train", "--resume", "run", "--steps", "5"],
    ));
}

#[test]
fn an_unwritable_folder_is_named_before_training() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    std::fs::write(dir.path().join("file"), "").unwrap();
    let output = train(dir.path(), &["--steps", "4", "--out", "file/run"]);
    fails(&output, 1, &["cannot write file/run"]);
    assert!(!stderr(&output).contains("first step"));
    // no user may write there
    if cfg!(target_os = "linux") {
        fails(
            &train(dir.path(), &["--steps", "4", "--out", "/proc/self/run"]),
            1,
            &["cannot write /proc/self/run"],
        );
    }
}

#[test]
fn non_finite_values_are_found_at_their_step() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    // the update of step 1 makes parameters whose products overflow in step 2; the state is read
    // after the last step only
    let wild = [
        "--clip",
        "0",
        "--warmup",
        "0",
        "--log-every",
        "1000",
        "--schedule",
        "constant",
    ];
    let with = |lr: &str, steps: &str, more: &[&str]| {
        let rate = [
            "train", "--data", "squares", "--preset", "tiny", "--lr", lr, "--steps", steps,
        ];
        seemore(dir.path(), &[&rate[..], &wild, more].concat())
    };
    let run = |more: &[&str]| with("1e30", "40", more);
    fails(
        &run(&["--out", "stop"]),
        1,
        &[
            "at step 2, first in shaders/",
            "dispatch",
            "diverged",
            "--lr",
            "stop has the state",
            "step 1",
        ],
    );
    assert!(
        dir.path()
            .join("stop/states/step-00000001.safetensors")
            .is_file()
    );
    fails(
        &run(&["--out", "skip", "--on-nan", "skip"]),
        1,
        &["at step 2", "steps in a row"],
    );
    let output = run(&["--out", "back", "--on-nan", "rollback"]);
    fails(
        &output,
        1,
        &[
            "back to step 0 with the learning rate times 0.5",
            "times 0.03125",
            "after 5 rollbacks",
        ],
    );
    // an eighth of this rate still gives finite values for so few steps
    let output = with("2000", "6", &["--on-nan", "rollback", "--out", "rescued"]);
    succeeds(&output);
    assert!(
        stderr(&output).contains("back to step 0 with the learning rate times 0.5"),
        "{}",
        stderr(&output)
    );
}

#[test]
#[cfg(unix)]
fn a_second_ctrl_c_stops_at_once() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    let mut child = spawn(
        dir.path(),
        &[
            &["train"],
            &TINY[..],
            &["--steps", "100000", "--out", "run"],
        ]
        .concat(),
    );
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("step 3/") {
        line.clear();
        assert!(
            out.read_line(&mut line).unwrap() > 0,
            "training ended early"
        );
    }
    let interrupt = || {
        assert!(
            Command::new("kill")
                .args(["-INT", &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        )
    };
    interrupt();
    interrupt();
    // 130 if the second one came before the end of the save, else 0
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(130) | Some(0)), "{code:?}");
}

/// Runs `seemore train` in a shell after the command `before`.
#[cfg(unix)]
fn train_after(dir: &Path, before: &str, flags: &str) -> Output {
    let script = format!(
        "{before}; exec {} train {flags}",
        env!("CARGO_BIN_EXE_seemore")
    );
    Command::new("sh")
        .args(["-c", &script])
        .current_dir(dir)
        .env("SEEMORE_CACHE", cache())
        .output()
        .unwrap()
}

/// A limit on the memory of the process is one for a software adapter; a graphics card has its own
/// memory, which may be enough.
#[test]
#[cfg(unix)]
fn lack_of_device_memory_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    let output = train_after(
        dir.path(),
        "ulimit -v 2000000",
        "--data squares --preset seemore --batch-size 768 --steps 1 --out run",
    );
    if !output.status.success() {
        fails(
            &output,
            3,
            &[
                "out of memory",
                "bytes of [768",
                "shaders/",
                "--batch-size",
                "--accumulate",
            ],
        );
    }
    // larger than most adapters bind in one buffer
    let flags = [
        "train",
        "--data",
        "squares",
        "--preset",
        "seemore",
        "--batch-size",
        "100000",
        "--steps",
        "1",
        "--out",
        "large",
    ];
    fails(&seemore(dir.path(), &flags), 3, &["--batch-size"]);
}

#[test]
fn an_unresponsive_device_times_out() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    // a step of this size takes longer than the limit on any adapter; the CPU has no limit
    let flags = [
        "train",
        "--device",
        "0",
        "--data",
        "squares",
        "--preset",
        "seemore",
        "--batch-size",
        "64",
        "--steps",
        "3",
        "--out",
        "run",
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_seemore"));
    let output = command
        .args(flags)
        .current_dir(dir.path())
        .env("SEEMORE_CACHE", cache())
        .env("SEEMORE_TIMEOUT", "0.0001")
        .output()
        .unwrap();
    fails(&output, 3, &["has worked for 0.0001 s", "SEEMORE_TIMEOUT"]);
}

#[test]
fn the_largest_batch_that_fits_is_found() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 5);
    // 18 training pictures
    let flags = [
        "train", "--data", "squares", "--preset", "tiny", "--steps", "2", "--out", "run",
    ];
    let output = seemore(
        dir.path(),
        &[&flags[..], &["--batch", "auto", "--accumulate", "2"]].concat(),
    );
    succeeds(&output);
    assert!(
        stderr(&output).contains("batch size 16: a step takes"),
        "{}",
        stderr(&output)
    );
    let saved: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("run/training.json")).unwrap())
            .unwrap();
    assert_eq!(saved["config"]["batch"]["size"], 16);
}
