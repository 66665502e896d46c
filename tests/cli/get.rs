//! `seemore get` and `seemore models`, with a server that answers as the Hub does.

use std::path::PathBuf;
use std::process::Output;

use super::common::hub::{Hub, HubFile, REPOSITORY};
use super::*;

/// Folder of a model that is small enough to download here.
const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/hf/llama_tiny");

const WEIGHTS: &str = "model.safetensors";

const FIRST: &str = "1111111111111111111111111111111111111111";

/// Files of a repository with the tiny model, and others that are not needed.
fn files() -> Vec<HubFile> {
    let read = |name: &str| std::fs::read(Path::new(TINY).join(name)).unwrap();
    let small = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ];
    let mut files: Vec<HubFile> = small
        .iter()
        .map(|name| HubFile::small(name, read(name)))
        .collect();
    files.push(HubFile::large(WEIGHTS, read(WEIGHTS)));
    files.push(HubFile::large("pytorch_model.bin", "a pickle"));
    files.push(HubFile::small("README.md", "what it is"));
    files
}

/// Runs `seemore` with its cache of the Hub in `dir`.
fn with_hub(dir: &Path, endpoint: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seemore"));
    for variable in [
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        command.env_remove(variable);
    }
    command
        .args(args)
        .current_dir(dir)
        .env("HF_HOME", dir.join("huggingface"))
        .env("HF_ENDPOINT", endpoint)
        .env("HF_TOKEN", "hf_token_of_the_test")
        .env("SEEMORE_CACHE", common::cache())
        .output()
        .unwrap()
}

/// An address at which nothing answers.
const NOWHERE: &str = "http://127.0.0.1:1";

/// Folder of the repository in the cache.
fn cached(dir: &Path) -> PathBuf {
    dir.join("huggingface/hub/models--org--tiny")
}

/// Checks that a revision in the cache has all files of the model and no others.
#[track_caller]
fn complete(dir: &Path, hub: &Hub) {
    let revision = hub.state().revision.clone();
    let folder = cached(dir).join("snapshots").join(&revision);
    let mut names = vec![];
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let bytes = std::fs::read(folder.join(&name)).unwrap();
        assert!(hub.state().file(&name).bytes == bytes, "{name} differs");
        names.push(name);
    }
    assert_eq!(names.len(), 6, "{names:?}");
    let main = std::fs::read_to_string(cached(dir).join("refs/main")).unwrap();
    assert_eq!(main, revision);
    let refs = std::fs::read_dir(cached(dir).join("refs")).unwrap();
    assert_eq!(refs.count(), 1);
}

#[test]
fn a_model_is_downloaded_and_used_without_a_network() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(FIRST, files());
    let get = |endpoint: &str| with_hub(dir.path(), endpoint, &["get", REPOSITORY]);

    let listed = with_hub(
        dir.path(),
        &hub.endpoint(),
        &["get", REPOSITORY, "--dry-run"],
    );
    let listed = succeeds(&listed);
    assert!(
        listed.contains(WEIGHTS) && !listed.contains("pickle"),
        "{listed}"
    );
    assert!(!cached(dir.path()).exists());
    assert_eq!(hub.requests().len(), 1);

    let output = get(&hub.endpoint());
    let printed = succeeds(&output);
    assert!(
        printed.contains("seemore chat --model org/tiny"),
        "{printed}"
    );
    // the progress of each file, and of the last one
    let log = stderr(&output);
    assert_eq!(log.lines().count(), 6, "{log}");
    assert!(log.ends_with(&format!("100 %  {WEIGHTS}\n")), "{log}");
    complete(dir.path(), &hub);
    let tokens = hub.state().tokens.clone();
    assert!(tokens.contains(&"Bearer hf_token_of_the_test".into()));

    // nothing is downloaded twice
    hub.requests();
    let printed = succeeds(&get(&hub.endpoint()));
    assert!(printed.contains("  here"), "{printed}");
    assert_eq!(hub.requests().len(), 1);

    let output = get(NOWHERE);
    assert!(succeeds(&output).contains(FIRST));
    assert!(stderr(&output).contains("warning"), "{}", stderr(&output));
    let models = succeeds(&with_hub(dir.path(), NOWHERE, &["models"]));
    assert!(models.contains(REPOSITORY), "{models}");
    assert!(!models.contains("not whole"), "{models}");
    let chat = [
        "chat",
        "--model",
        REPOSITORY,
        "--prompt",
        "Hi",
        "--max-tokens",
        "4",
        "--device",
        "cpu",
    ];
    let output = with_hub(dir.path(), NOWHERE, &chat);
    succeeds(&output);
    assert!(stderr(&output).contains("tokens)"), "{}", stderr(&output));
}

#[test]
fn an_interrupted_download_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(FIRST, files());
    let get = || with_hub(dir.path(), &hub.endpoint(), &["get", REPOSITORY]);
    let piece = hub.state().file(WEIGHTS).bytes.len() / 8;
    // the client itself tries five times
    hub.state().file(WEIGHTS).cuts = vec![piece; 5];
    fails(&get(), 1, &[WEIGHTS, REPOSITORY, "again"]);
    let models = succeeds(&with_hub(dir.path(), NOWHERE, &["models"]));
    assert!(models.contains("not whole"), "{models}");
    fails(
        &with_hub(dir.path(), NOWHERE, &["get", REPOSITORY]),
        1,
        &["cannot download", "*.safetensors"],
    );

    hub.requests();
    hub.state().file(WEIGHTS).cuts = vec![piece];
    let output = get();
    succeeds(&output);
    complete(dir.path(), &hub);
    let log = stderr(&output);
    assert!(log.ends_with(&format!("100 %  {WEIGHTS}\n")), "{log}");
    let ranges: Vec<String> = hub.requests();
    let begins = |bytes: usize| format!("/cdn/{WEIGHTS} bytes={bytes}-");
    assert!(ranges.contains(&begins(5 * piece)), "{ranges:?}");
    assert!(ranges.contains(&begins(6 * piece)), "{ranges:?}");
    assert!(!ranges.contains(&begins(0)), "{ranges:?}");
}

#[test]
fn parts_that_cannot_be_continued_are_mended() {
    let hub = Hub::start(FIRST, files());
    let (bytes, digest) = {
        let mut state = hub.state();
        let file = state.file(WEIGHTS);
        (file.bytes.clone(), file.digest())
    };
    // killed between the last byte and the new name; longer than the file
    for part in [bytes.clone(), [&bytes[..], b"more"].concat()] {
        let dir = tempfile::tempdir().unwrap();
        let blobs = cached(dir.path()).join("blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(format!("{digest}.part")), part).unwrap();
        succeeds(&with_hub(dir.path(), &hub.endpoint(), &["get", REPOSITORY]));
        complete(dir.path(), &hub);
    }
}

#[test]
fn wrong_contents_are_found_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(FIRST, files());
    let get = || with_hub(dir.path(), &hub.endpoint(), &["get", REPOSITORY]);
    let digest = {
        let mut state = hub.state();
        let file = state.file(WEIGHTS);
        let mut damaged = file.bytes.clone();
        *damaged.last_mut().unwrap() ^= 1;
        file.sent = Some(damaged);
        file.digest()
    };
    fails(&get(), 1, &[WEIGHTS, "SHA-256", &digest, "removed"]);
    assert!(!cached(dir.path()).join("blobs").join(&digest).exists());
    let link = cached(dir.path())
        .join("snapshots")
        .join(FIRST)
        .join(WEIGHTS);
    assert!(link.symlink_metadata().is_err());
    assert!(!cached(dir.path()).join("refs/main").exists());
    hub.state().file(WEIGHTS).sent = None;
    succeeds(&get());
    complete(dir.path(), &hub);

    // a small file has no checksum, but a size
    let dir = tempfile::tempdir().unwrap();
    hub.state().file("config.json").sent = Some(b"{}".to_vec());
    let output = with_hub(dir.path(), &hub.endpoint(), &["get", REPOSITORY]);
    fails(&output, 1, &["config.json", "2 bytes", "removed"]);
}

#[test]
fn a_new_revision_takes_over_what_has_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(FIRST, files());
    let get = || with_hub(dir.path(), &hub.endpoint(), &["get", REPOSITORY]);
    succeeds(&get());
    hub.requests();
    {
        let mut state = hub.state();
        state.revision = "2".repeat(40);
        // another text of the same length
        let config = &mut state.file("generation_config.json").bytes;
        config[0] = b' ';
        config.push(b'{');
    }
    succeeds(&get());
    complete(dir.path(), &hub);
    let asked = hub.requests();
    assert!(
        asked.iter().any(|path| path.contains("generation_config")),
        "{asked:?}"
    );
    assert!(
        !asked.iter().any(|path| path.contains(WEIGHTS)),
        "{asked:?}"
    );
}

#[test]
fn unknown_models_are_refused_before_their_weights() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(FIRST, files());
    hub.state().file("config.json").bytes =
        br#"{"model_type": "mamba", "architectures": ["MambaForCausalLM"]}"#.to_vec();
    let output = with_hub(dir.path(), &hub.endpoint(), &["get", REPOSITORY]);
    fails(&output, 1, &["config.json", "mamba", "idefics3"]);
    let asked = hub.requests();
    assert!(
        !asked.iter().any(|path| path.contains(WEIGHTS)),
        "{asked:?}"
    );

    hub.state()
        .files
        .retain(|file| !file.name.ends_with("safetensors"));
    let output = with_hub(dir.path(), &hub.endpoint(), &["get", REPOSITORY]);
    fails(&output, 1, &["no weights", "pytorch_model.bin"]);
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(FIRST, files());
    let get = |name: &str| with_hub(dir.path(), &hub.endpoint(), &["get", name]);
    fails(&get("org/other"), 1, &["org/other", "401", "HF_TOKEN"]);
    fails(&get("not a name"), 1, &["not a name", "seemore models"]);
}

#[test]
fn without_a_network_the_files_to_copy_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let get = |name: &str| with_hub(dir.path(), NOWHERE, &["get", name]);
    fails(
        &get("smolvlm-256m"),
        1,
        &[
            "cannot download",
            "https://huggingface.co/HuggingFaceTB/SmolVLM-256M-Instruct",
            "\n  config.json\n",
            "\n  preprocessor_config.json\n",
            "\n  tokenizer.json\n",
            "\n  *.safetensors\n",
            "--model",
        ],
    );
    fails(
        &get("smolvlm-256m-gguf"),
        1,
        &["mmproj", ".gguf", "--model"],
    );
    // a model that is not here says how it comes here
    let caption = ["caption", "photo.jpg", "--model", "smolvlm-256m"];
    let output = with_hub(dir.path(), NOWHERE, &caption);
    fails(&output, 1, &["is not on this machine", "seemore get"]);
}

#[test]
fn known_models_are_listed_with_size_and_licence() {
    let dir = tempfile::tempdir().unwrap();
    let printed = succeeds(&with_hub(dir.path(), NOWHERE, &["models"]));
    for word in ["smolvlm-256m", "516 MB", "Apache-2.0"] {
        assert!(printed.contains(word), "no {word} in: {printed}");
    }
    let lines = succeeds(&with_hub(dir.path(), NOWHERE, &["models", "--json"]));
    for line in lines.lines() {
        let model: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(model["repository"].is_string(), "{line}");
    }
}
