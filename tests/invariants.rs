//! The README's invariants and paths, as far as reading the sources can tell.

use std::path::{Path, PathBuf};

/// All files below a path with the given ending, with their text.
fn sources(path: &str, ending: &str) -> Vec<(PathBuf, String)> {
    let path = Path::new(path);
    if path.is_file() {
        return vec![(path.to_owned(), std::fs::read_to_string(path).unwrap())];
    }
    let mut files = vec![];
    for entry in
        std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(path.to_str().unwrap(), ending));
        } else if path
            .extension()
            .is_some_and(|extension| extension == ending)
        {
            files.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    files
}

/// No file of `paths` mentions any of `words`, comments aside.
#[track_caller]
fn never(paths: &[&str], words: &[&str]) {
    for path in paths {
        let files = sources(path, "rs");
        assert!(!files.is_empty(), "{path} is empty");
        for (file, text) in files {
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                for word in words {
                    assert!(
                        !code.contains(word),
                        "{}:{} mentions {word}: {line}",
                        file.display(),
                        number + 1
                    );
                }
            }
        }
    }
}

#[test]
fn the_engine_knows_nothing_of_neural_networks() {
    let engine = ["src/device.rs", "src/device", "src/graph.rs", "src/graph"];
    never(
        &engine,
        &[
            "crate::nn",
            "crate::model",
            "crate::train",
            "crate::data",
            "crate::ops",
        ],
    );
}

#[test]
fn only_the_engine_names_the_graphics_library() {
    never(
        &[
            "src/ops.rs",
            "src/ops",
            "src/nn.rs",
            "src/nn",
            "src/models.rs",
            "src/models",
            "src/train",
            "src/data",
            "src/cli",
        ],
        &["wgpu::"],
    );
}

#[test]
fn layers_and_models_never_name_a_kernel() {
    never(
        &[
            "src/nn.rs",
            "src/nn",
            "src/models.rs",
            "src/models",
            "src/train",
            "src/caption.rs",
            "src/caption",
            "src/eval.rs",
            "src/eval",
        ],
        &["Kernel", "kernel!", ".call("],
    );
}

#[test]
fn every_kernel_file_belongs_to_an_op_and_says_what_it_computes() {
    let ops: String = sources("src/ops", "rs")
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    for (file, text) in sources("shaders", "wgsl") {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        assert!(
            ops.contains(&format!("\"{stem}\"")),
            "no op uses {}",
            file.display()
        );
        assert!(text.starts_with("// "), "{} has no header", file.display());
        assert!(
            !text.contains("atomicAdd"),
            "{} adds in no fixed order",
            file.display()
        );
    }
}

#[test]
fn every_op_has_a_test() {
    for (file, text) in sources("src/ops", "rs") {
        let helper = ["check.rs", "lanes.rs"]
            .iter()
            .any(|name| file.ends_with(name));
        assert!(
            helper || text.contains("#[test]") || text.contains("#[cfg_attr(test, test)]"),
            "{} has no test",
            file.display()
        );
    }
}

#[test]
fn the_paths_in_the_readme_are_there() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let map = readme
        .split("```")
        .find(|block| block.starts_with("\nshaders/"))
        .expect("the README has a code map");
    let mut folder = String::new();
    for line in map.lines().filter(|line| !line.trim().is_empty()) {
        let nested = line.starts_with("  ");
        let names = line.trim().split("  ").next().unwrap();
        for name in names.split(' ') {
            let path = if nested {
                format!("{folder}{name}")
            } else {
                name.to_owned()
            };
            assert!(Path::new(&path).exists(), "README names {path}");
            if !nested {
                folder = name.to_owned();
            }
        }
    }
    for link in readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://"))
    {
        assert!(Path::new(link).exists(), "README links to {link}");
    }
}
