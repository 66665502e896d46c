//! What a training survives: being killed at any moment, full disks, damaged files, numbers that are none, an impatient user.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output};
use std::time::{Duration, Instant};

use common::{cache, fails, losses, seemore, spawn, squares, stderr, succeeds};

/// The flags of a training of the smallest model, after `train`; dropout and augmentation make it depend on every generator's state.
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

/// A generator that a test can name by its seed (Marsaglia's xorshift).
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Reads what a training prints up to its end, or up to when it is killed: when `time` has passed since its first loss, and `now` is true.
/// Returns the losses and whether it was killed.
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
fn killed_at_twenty_moments_a_training_gives_the_losses_of_one_that_was_not() {
    survives(20, 3, &[]);
}

#[test]
fn killed_in_half_precision_it_has_the_scale_of_its_gradients() {
    survives(6, 1, &["--precision", "f16", "--accumulate", "2"]);
}

/// Kills a training until it was killed so often, of that so often inside a save, and compares it with one that was left alone.
fn survives(least_kills: u32, least_in_saves: u32, more: &[&str]) {
    const STEPS: u64 = 150;
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 3);
    let steps = STEPS.to_string();
    // the time that a step takes differs, its result does not; a save after every step, so that many kills fall into one
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
        // killed before its first save, a run has nothing to go on with, though the states of one before it are kept
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
        // a run that came to its end starts anew, so that there is always something to kill
        let arguments = goes_on(done());
        // files that are being written, by when they last were; a kill leaves them to the next run's first save
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
fn a_run_stays_until_the_one_that_takes_its_place_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    succeeds(&train(dir.path(), &["--steps", "3", "--out", "run"]));
    // as a kill between the first save's steps leaves it
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
    // another one in its place has fewer steps, and is the one to go on with
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
fn damaged_states_are_named_with_the_one_before_them() {
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
    // a model is not resumed from what is not a state, nor from a state of another model
    std::fs::copy(dir.path().join("run/model.safetensors"), &path).unwrap();
    fails(&resume(), 1, &["no state of a training"]);
    std::fs::remove_file(&path).unwrap();
    assert!(
        stderr(&resume()).contains("first step"),
        "step 4 was not gone on from"
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

/// A file may have 600 blocks of 512 bytes: a state of the smallest model has more. What a full disk does, without filling one.
#[test]
#[cfg(unix)]
fn a_save_that_does_not_fit_leaves_the_one_before() {
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
            "training goes on",
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
fn a_folder_that_cannot_be_written_is_named_before_training() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    std::fs::write(dir.path().join("file"), "").unwrap();
    let output = train(dir.path(), &["--steps", "4", "--out", "file/run"]);
    fails(&output, 1, &["cannot write file/run"]);
    assert!(!stderr(&output).contains("first step"));
    // nobody may write there, whatever the user's rights
    if cfg!(target_os = "linux") {
        fails(
            &train(dir.path(), &["--steps", "4", "--out", "/proc/self/run"]),
            1,
            &["cannot write /proc/self/run"],
        );
    }
}

#[test]
fn numbers_that_are_none_are_found_at_their_step_and_explained() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    // the first step's update makes parameters whose products overflow in the second; nothing looks before the last step
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
    // a rate that is an eighth as large, or less, is not good, but its numbers are numbers for so long
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
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended by itself");
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
    // 130 where the second came before the save was done, else it had ended well
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(130) | Some(0)), "{code:?}");
}

/// Runs `seemore train` in a shell that first does `before`.
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

/// A limit on the program's memory is one on a software adapter's; a graphics card has its own, and may be large enough.
#[test]
#[cfg(unix)]
fn a_device_without_memory_says_what_for_and_has_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    let output = train_after(
        dir.path(),
        "ulimit -v 2000000",
        "--data squares --preset seemore --batch-size 384 --steps 1 --out run",
    );
    if !output.status.success() {
        fails(
            &output,
            3,
            &[
                "out of memory",
                "bytes of [384",
                "shaders/",
                "--batch-size",
                "--accumulate",
            ],
        );
    }
    // more in one piece than most adapters bind
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
fn a_device_that_does_not_answer_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 2);
    // a step of this size takes longer than that on anything
    let flags = [
        "train",
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
    // 18 pictures to train on
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
    assert_eq!(saved["options"]["batch_size"], 16);
}
