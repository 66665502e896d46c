//! Downloads of models, from a server that answers as the Hugging Face Hub does.

mod common;
// each test file uses only some of it
#[allow(dead_code)]
#[path = "../../tests/common/hub.rs"]
mod hub;

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use common::{click, has, real, root, until};
use egui::{Key, Modifiers};
use egui_kittest::Harness;
use hub::{Hub, HubFile};
use seemore_app::Window;

/// Variable that holds the server's address in a process of a test's own.
const ADDRESS: &str = "SEEMORE_TEST_HUB";

const REVISION: &str = "1111111111111111111111111111111111111111";

const WEIGHTS: &str = "model.safetensors";

/// Runs a test again in a process of its own, whose Hub has an unused address and whose cache is
/// empty. Returns that address there, and `None` here after it has passed.
fn alone(test: &str) -> Option<String> {
    if let Ok(address) = std::env::var(ADDRESS) {
        return Some(address);
    }
    let home = tempfile::tempdir().unwrap();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unused.local_addr().unwrap().to_string();
    drop(unused);
    let mut command = Command::new(std::env::current_exe().unwrap());
    for variable in [
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_TOKEN",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        command.env_remove(variable);
    }
    let status = command
        .args([test, "--exact", "--nocapture"])
        .env(ADDRESS, &address)
        .env("HF_ENDPOINT", format!("http://{address}"))
        .env("HF_HOME", home.path())
        .status()
        .unwrap();
    assert!(status.success(), "{test} fails in a process of its own");
    None
}

/// Returns the files of a small model.
fn files() -> Vec<HubFile> {
    let folder = root().join("tests/golden/hf/nanovlm_tiny");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    vec![
        HubFile::small("config.json", read("config.json")),
        HubFile::small("tokenizer.json", read("tokenizer.json")),
        HubFile::large(WEIGHTS, read(WEIGHTS)),
    ]
}

/// Presses the button that downloads the model.
fn get(harness: &mut Harness<Window>) {
    until(harness, "button", |harness| {
        has(harness, "Get nanovlm-222m")
    });
    click(harness, "Get nanovlm-222m");
}

#[test]
fn a_download_is_verified_cancelled_and_continued() {
    let Some(address) = alone("a_download_is_verified_cancelled_and_continued") else {
        return;
    };
    let listener = TcpListener::bind(address).unwrap();
    let hub = Hub::serve(listener, "lusxvr/nanoVLM-222M", REVISION, files());
    let mut harness = real(vec![]);
    until(&mut harness, "model", |harness| {
        has(harness, "knows drawings")
    });
    harness.key_press_modifiers(Modifiers::COMMAND, Key::L);
    harness.run_steps(3);

    let piece = hub.state().file(WEIGHTS).bytes.len() / 8;
    let mut damaged = hub.state().file(WEIGHTS).bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    hub.state().file(WEIGHTS).sent = Some(damaged);
    get(&mut harness);
    until(&mut harness, "checksum", |harness| {
        has(harness, "SHA-256") && has(harness, "download it again")
    });

    hub.requests();
    hub.state().file(WEIGHTS).sent = None;
    hub.state().file(WEIGHTS).pause = Duration::from_millis(60);
    get(&mut harness);
    let whole = format!("/cdn/{WEIGHTS} bytes=0-");
    until(&mut harness, "weights", |_| {
        hub.state().requests.contains(&whole)
    });
    std::thread::sleep(Duration::from_millis(300));
    harness.step();
    click(&mut harness, "Cancel");
    until(&mut harness, "end of the download", |harness| {
        has(harness, "was stopped; Get continues it.")
    });

    // the client itself tries five times
    hub.requests();
    hub.state().file(WEIGHTS).pause = Duration::ZERO;
    hub.state().file(WEIGHTS).cuts = vec![piece / 4; 5];
    get(&mut harness);
    until(&mut harness, "broken connection", |harness| {
        has(harness, "Get continues the download")
    });

    get(&mut harness);
    until(&mut harness, "model", |harness| {
        has(harness, "Downloaded nanovlm-222m.")
            && has(harness, "nanovlm-222m: photographs, questions")
    });
    let requests = hub.requests();
    assert!(!requests.contains(&whole), "{requests:?}");
}
