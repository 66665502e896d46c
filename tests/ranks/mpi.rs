//! Ranks as processes that `mpirun` starts.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{cache, losses, seemore, squares, stderr, succeeds};

/// Flags of a training of the smallest model in which everything is random that can be.
const TINY: [&str; 16] = [
    "--data",
    "squares",
    "--preset",
    "tiny",
    "--batch-size",
    "12",
    "--dropout",
    "0.1",
    "--ema",
    "0.9",
    "--log-every",
    "1",
    "--device",
    "cpu:1",
    "--val-split",
    "0.25",
];

/// A command of Open MPI in `dir`, which tests run as root, on more ranks than cores.
fn mpirun(dir: &Path) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args(["--allow-run-as-root", "--oversubscribe"])
        .current_dir(dir)
        .env("SEEMORE_CACHE", cache());
    command
}

/// Trains on `ranks` ranks.
fn train(dir: &Path, ranks: usize, args: &[&str]) -> Output {
    mpirun(dir)
        .args(["-n", &ranks.to_string(), env!("CARGO_BIN_EXE_train")])
        .args(args)
        .output()
        .unwrap()
}

/// A folder with squares to train on.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), 6);
    dir
}

fn assert_same(dir: &Path, runs: [&str; 2], file: &str) {
    let [a, b] = runs.map(|run| std::fs::read(dir.join(run).join(file)).unwrap());
    assert!(a == b, "{file} of {runs:?}");
}

#[test]
fn ranks_give_the_result_of_accumulation() {
    let dir = folder();
    let dir = dir.path();
    for ranks in [2, 3, 4] {
        let (one, several) = (format!("one-{ranks}"), format!("ranks-{ranks}"));
        let parts = ranks.to_string();
        let more = ["--steps", "6", "--json", "--out"];
        let args = [
            &["train"],
            &TINY[..],
            &more,
            &[&one, "--accumulate", &parts],
        ]
        .concat();
        let alone = succeeds(&seemore(dir, &args));
        let args = [&TINY[..], &more, &[&several]].concat();
        let together = succeeds(&train(dir, ranks, &args));
        assert_eq!(losses(&together), losses(&alone), "{ranks} ranks");
        assert!(together.contains("exchange_bytes"), "{together}");
        assert_same(dir, [&one, &several], "model.safetensors");
    }
    // other numbers of ranks continue what 4 began
    let more = ["--resume", "ranks-4", "--steps", "9", "--device", "cpu:1"];
    succeeds(&train(dir, 2, &more));
    let more = [&["train", "--resume", "one-4"], &more[2..]].concat();
    succeeds(&seemore(dir, &more));
    assert_same(dir, ["one-4", "ranks-4"], "model.safetensors");
}

#[test]
fn adapters_are_tuned_as_by_one_process() {
    let dir = folder();
    let dir = dir.path();
    let golden = |name: &str| format!("{}/tests/golden/hf/{name}", env!("CARGO_MANIFEST_DIR"));
    let (encoder, decoder) = (golden("clip_tiny"), golden("llama_tiny"));
    let compose = [
        "compose",
        "--encoder",
        &encoder,
        "--decoder",
        &decoder,
        "--out",
        "composed",
        "--projector",
        "mlp",
    ];
    succeeds(&seemore(dir, &compose));
    let tune = [
        "--model",
        "composed",
        "--tune",
        "projector,lora",
        "--rank",
        "2",
        "--lora-dropout",
        "0.1",
        "--data",
        "squares",
        "--val-split",
        "0.25",
        "--device",
        "cpu:1",
        "--batch-size",
        "6",
        "--steps",
        "5",
        "--out",
    ];
    // features of the frozen encoder are made by all ranks at once
    let one = ["one", "--accumulate", "3", "--feature-cache", "a"];
    let args = [&["train"], &tune[..], &one].concat();
    succeeds(&seemore(dir, &args));
    succeeds(&train(
        dir,
        3,
        &[&tune[..], &["ranks", "--feature-cache", "b"]].concat(),
    ));
    assert_same(dir, ["one", "ranks"], "adapter_model.safetensors");
}

/// A training under way on `ranks` ranks, whose numbers are found by their environment.
struct Running {
    child: Child,
    began: Instant,
}

impl Running {
    fn start(dir: &Path, ranks: usize, more: &[&str]) -> Running {
        let errors = std::fs::File::create(dir.join("errors.txt")).unwrap();
        let output = std::fs::File::create(dir.join("output.txt")).unwrap();
        let child = mpirun(dir)
            .env("SEEMORE_RANK_TIMEOUT", "5")
            .args(["-n", &ranks.to_string(), env!("CARGO_BIN_EXE_train")])
            .args(TINY)
            .args(["--steps", "1000000", "--save-every", "5", "--out", "run"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap();
        let running = Running {
            child,
            began: Instant::now(),
        };
        // until something was saved
        let states = dir.join("run/states");
        while std::fs::read_dir(&states).map_or(0, Iterator::count) < 2 {
            assert!(running.began.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    /// Process of a rank, which Open MPI tells it in its environment.
    fn process(&self, rank: usize) -> u32 {
        let wanted = format!("OMPI_COMM_WORLD_RANK={rank}\0");
        let parent = self.child.id();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut found = processes.filter(|process: &u32| {
            let read = |file: &str| std::fs::read(format!("/proc/{process}/{file}"));
            let status = String::from_utf8(read("status").unwrap_or_default()).unwrap_or_default();
            let of_this = status.contains(&format!("PPid:\t{parent}\n"));
            let environment = read("environ").unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment).into_owned();
            of_this && environment.contains(&wanted)
        });
        found.next().expect("the rank runs")
    }

    fn signal(&self, rank: usize, signal: &str) -> u32 {
        let process = self.process(rank);
        let sent = Command::new("kill")
            .args([signal, &process.to_string()])
            .status();
        assert!(sent.unwrap().success());
        process
    }

    /// Waits for the end of all ranks, which must fail; returns what they said.
    fn failed(mut self, dir: &Path, within: Duration) -> String {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < within, "ranks go on for {within:?}");
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(!status.success());
        std::fs::read_to_string(dir.join("errors.txt")).unwrap()
    }
}

/// The last saved state is whole, and its training goes on.
fn assert_goes_on(dir: &Path) {
    let states = std::fs::read_dir(dir.join("run/states")).unwrap();
    let names = states.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let newest = names
        .filter(|name| name.ends_with(".safetensors"))
        .max()
        .unwrap();
    let step: u64 = newest["step-".len()..][..8].parse().unwrap();
    let steps = (step + 2).to_string();
    let args = ["--resume", "run", "--steps", &steps, "--device", "cpu:1"];
    let resumed = train(dir, 2, &args);
    succeeds(&resumed);
}

#[test]
fn a_rank_that_dies_ends_all_by_name() {
    let dir = folder();
    let dir = dir.path();
    let running = Running::start(dir, 3, &[]);
    running.signal(1, "-KILL");
    let said = running.failed(dir, Duration::from_secs(60));
    assert!(said.contains("rank 1"), "{said}");
    assert_goes_on(dir);
}

#[test]
fn a_rank_that_hangs_ends_all_by_name() {
    let dir = folder();
    let dir = dir.path();
    let running = Running::start(dir, 3, &[]);
    let process = running.signal(2, "-STOP");
    let said = running.failed(dir, Duration::from_secs(60));
    let want = format!("process {process}) has been silent for 5 s");
    assert!(said.contains("rank 2 (") && said.contains(&want), "{said}");
    assert_goes_on(dir);
}

#[test]
fn ranks_that_differ_are_refused_before_the_first_step() {
    let dir = folder();
    let dir = dir.path();
    let program = env!("CARGO_BIN_EXE_train");
    let pair = |second: &[&str]| {
        let common = [&TINY[..], &["--steps", "3", "--out", "run"]].concat();
        let output = mpirun(dir)
            .args(["-n", "1", program])
            .args(&common)
            .args([":", "-n", "1"])
            .args(second.iter().take_while(|arg| **arg != "train"))
            .arg(program)
            .args(&common)
            .args(second.iter().skip_while(|arg| **arg != "train").skip(1))
            .output()
            .unwrap();
        assert!(!output.status.success());
        assert!(
            !dir.join("run").exists(),
            "a refused training leaves nothing"
        );
        stderr(&output)
    };
    let said = pair(&["train", "--lr", "0.5"]);
    let want =
        "rank 1 differs from rank 0: schedule.learning_rate is 0.5 there, and 0.001 on rank 0";
    assert!(said.contains(want), "{said}");
    // the same names, other pictures
    squares(&dir.join("elsewhere/squares"), 5);
    let said = pair(&["--wdir", "elsewhere", "train"]);
    let want = "rank 1 differs from rank 0: the list of training pictures and captions is";
    assert!(said.contains(want), "{said}");
    // data that one machine does not have
    std::fs::create_dir(dir.join("empty")).unwrap();
    let said = pair(&["--wdir", "empty", "train"]);
    assert!(
        said.contains("rank 1 (") && said.contains("squares"),
        "{said}"
    );
}
