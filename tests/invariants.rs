//! The invariants of docs/design.md, as far as the sources show them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Returns all files below `path` with the given extension, and their text.
fn files(path: &str, extension: &str) -> Vec<(PathBuf, String)> {
    let path = Path::new(path);
    if path.is_file() {
        return vec![(path.to_owned(), std::fs::read_to_string(path).unwrap())];
    }
    let entries = std::fs::read_dir(path);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found = vec![];
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(path.to_str().unwrap(), extension));
        } else if path.extension().is_some_and(|have| have == extension) {
            found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Returns the lines of a Rust file that end up in the library: without comments, and without
/// modules of tests and op checks.
fn library_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = vec![];
    let mut skipping = false;
    let mut test_next = false;
    for (number, line) in text.lines().enumerate() {
        if skipping {
            // modules at the top level end with a brace in the first column
            skipping = !line.starts_with('}');
            continue;
        }
        let code = line.split("//").next().unwrap_or_default();
        if code.starts_with("#[cfg(test)]") || code.starts_with("#[cfg(all(test") {
            test_next = true;
            continue;
        }
        let module =
            code.starts_with("mod ") || code.contains("mod tests") || code.contains("mod checks");
        let opens = code.trim_end().ends_with('{');
        let checks = !code.starts_with(' ')
            && (code.contains("mod tests {") || code.contains("mod checks {"));
        if checks || test_next && opens {
            skipping = true;
            test_next = false;
            continue;
        }
        if test_next && module {
            test_next = false;
            continue;
        }
        test_next = false;
        lines.push((number + 1, code.to_owned()));
    }
    lines
}

/// Returns the library lines of all Rust files of a room, `src/NAME.rs` and `src/NAME/`, without
/// tests and op checks.
fn room(name: &str) -> Vec<(PathBuf, usize, String)> {
    let mut sources = vec![];
    for path in [format!("src/{name}.rs"), format!("src/{name}")] {
        if Path::new(&path).exists() {
            sources.extend(files(&path, "rs"));
        }
    }
    assert!(!sources.is_empty(), "there is no room {name}");
    let tests = |path: &Path| {
        let names = path.components().map(|part| part.as_os_str().to_owned());
        names.into_iter().any(|name| {
            ["tests", "tests.rs", "check.rs", "checks.rs"]
                .iter()
                .any(|test| name == *test)
        })
    };
    let sources = sources.into_iter().filter(|(path, _)| !tests(path));
    sources
        .flat_map(|(path, text)| {
            let lines = library_lines(&text).into_iter();
            lines.map(move |(number, line)| (path.clone(), number, line))
        })
        .collect()
}

/// Names of all rooms in `src/`.
fn rooms() -> BTreeSet<String> {
    let entries = std::fs::read_dir("src").unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "lib" && name != "bin")
        .collect()
}

/// Checks that no room of `rooms` mentions any of `words` outside comments and tests.
#[track_caller]
fn never(rooms: &[&str], words: &[&str]) {
    for name in rooms {
        for (path, number, line) in room(name) {
            for word in words {
                let place = path.display();
                assert!(
                    !line.contains(word),
                    "{place}:{number} mentions {word}: {line}"
                );
            }
        }
    }
}

/// Returns the rooms that a room uses.
fn uses(name: &str, rooms: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (path, number, line) in room(name) {
        for (at, _) in line.match_indices("crate::") {
            let used: String = line[at + 7..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let macro_call = line[at + 7 + used.len()..].starts_with('!');
            if used != name && rooms.contains(&used) && !macro_call {
                found
                    .entry(used)
                    .or_insert(format!("{}:{number}", path.display()));
            }
        }
    }
    found
}

#[test]
fn rooms_depend_on_each_other_without_cycles() {
    let rooms = rooms();
    let graph: BTreeMap<String, _> = rooms
        .iter()
        .map(|name| (name.clone(), uses(name, &rooms)))
        .collect();
    // rooms whose dependencies are all placed are placed; whatever remains is part of a cycle or
    // above one
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    loop {
        let ready: Vec<&str> = graph
            .iter()
            .filter(|(name, uses)| {
                !placed.contains(name.as_str())
                    && uses.keys().all(|used| placed.contains(used.as_str()))
            })
            .map(|(name, _)| name.as_str())
            .collect();
        if ready.is_empty() {
            break;
        }
        placed.extend(ready);
    }
    let left: Vec<String> = graph
        .iter()
        .filter(|(name, _)| !placed.contains(name.as_str()))
        .flat_map(|(name, uses)| {
            let open = uses
                .iter()
                .filter(|(used, _)| !placed.contains(used.as_str()));
            open.map(move |(used, place)| format!("{name} uses {used} at {place}"))
        })
        .collect();
    assert!(
        left.is_empty(),
        "these rooms form a cycle:\n{}",
        left.join("\n")
    );
}

#[test]
fn recording_names_no_device() {
    let lower = ["crate::device", "wgpu::", "std::fs", "std::thread", "clap"];
    never(&["graph"], &lower);
    never(&["ops"], &lower[..2]);
}

#[test]
fn the_engine_knows_no_neural_network() {
    let above = [
        "crate::nn",
        "crate::models",
        "crate::train",
        "crate::data",
        "crate::caption",
    ];
    never(&["graph", "ops", "device"], &above);
}

#[test]
fn only_the_executor_names_wgpu() {
    let rooms = rooms();
    for name in rooms.iter().filter(|name| *name != "device") {
        never(&[name], &["wgpu::"]);
    }
    for (path, number, line) in room("device") {
        let inside = path.starts_with("src/device/wgpu") || path.ends_with("wgpu.rs");
        let own = ["self::wgpu::", "device::wgpu::"];
        let allowed = inside || own.iter().any(|path| line.contains(path));
        assert!(
            allowed || !line.contains("wgpu::"),
            "{}:{number}: {line}",
            path.display()
        );
    }
}

#[test]
fn layers_models_and_training_name_no_kernel() {
    let rooms = ["nn", "models", "train", "caption", "explain", "eval"];
    never(&rooms, &["Kernel", "kernel!", ".call("]);
}

#[test]
fn only_the_front_ends_know_terminals_and_windows() {
    let front_ends = [
        "clap",
        "indicatif",
        "ctrlc",
        "dirs::",
        "egui",
        "println!",
        "eprintln!",
        "\"--",
    ];
    for name in rooms().iter().filter(|name| *name != "cli") {
        never(&[name], &front_ends);
        if name != "track" {
            never(&[name], &["ureq"]);
        }
    }
}

#[test]
fn pages_start_no_threads() {
    for (path, text) in files("app/src/pages", "rs") {
        for (number, line) in library_lines(&text) {
            for word in ["std::thread", "mpsc", "Mutex", "RwLock", "Condvar", "rayon"] {
                let place = path.display();
                assert!(!line.contains(word), "{place}:{number} mentions {word}");
            }
        }
    }
}

#[test]
fn every_kernel_belongs_to_an_op_and_starts_with_its_formula() {
    let ops: String = files("src/ops", "rs")
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    for (path, text) in files("shaders", "wgsl") {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let path = path.display();
        assert!(ops.contains(&format!("\"{stem}\"")), "no op uses {path}");
        assert!(text.starts_with("// "), "{path} has no header");
        assert!(!text.contains("atomicAdd"), "{path} adds in no fixed order");
    }
}

#[test]
fn the_paths_in_the_documents_exist() {
    let documents = files("docs", "md").into_iter();
    let top = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
    ];
    let top = top.into_iter().flat_map(|name| files(name, "md"));
    for (document, text) in documents.chain(top) {
        let folder = document.parent().unwrap_or(Path::new(""));
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split([')', '#']).next().unwrap_or_default();
            if link.is_empty() || link.starts_with("http") {
                continue;
            }
            let path = folder.join(link);
            assert!(path.exists(), "{} links to {link}", document.display());
        }
    }
}

#[test]
fn the_readme_is_short() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    assert!(readme.lines().count() < 200);
}
