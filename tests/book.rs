//! The book in docs/book: its examples run, and print the numbers that it quotes; its figures are
//! those that the examples draw; links, included lines and alternative texts exist.
//!
//! Two numbers are the same if they have the same decimals and differ by at most one in the last:
//! processors sum products in different orders. Numbers before the units in [`TIMES`] are not
//! compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BOOK: &str = "docs/book/src";

/// Units of measured times and rates.
const TIMES: [&str; 2] = [" ms", " GFLOP/s"];

/// Largest number of lines of an example, without those that mark included lines.
const EXAMPLE_LINES: usize = 100;

/// Largest number of lines of the file with the whole model.
const WHOLE_MODEL_LINES: usize = 350;

/// Numbers in the text that no example prints: results of exercises, settings to try, versions.
const FROM_ELSEWHERE: [(&str, &str); 8] = [
    ("02_attention", "1.00"),
    ("08_loss", "0.001"),
    ("11_train", "0.3"),
    ("11_train", "0.00003"),
    ("11_train", "2.9"),
    ("12_generate", "8.2"),
    ("15_original", "0.001"),
    ("15_original", "2.11"),
];

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// File names in a folder with an extension, without it, sorted.
fn stems(folder: &str, extension: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let paths = entries.map(|entry| entry.unwrap().path());
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut found: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|have| have == extension))
        .map(stem)
        .collect();
    found.sort();
    found
}

/// Examples of the chapters: those whose names begin with a number.
fn examples() -> Vec<String> {
    let all = stems("examples", "rs").into_iter();
    all.filter(|name| name.starts_with(|first: char| first.is_ascii_digit()))
        .collect()
}

/// Chapters by the names of their files, with their text.
fn chapters() -> Vec<(String, String)> {
    let names = stems(BOOK, "md").into_iter();
    names
        .map(|name| {
            let text = read(format!("{BOOK}/{name}.md"));
            (name, text)
        })
        .collect()
}

/// The program of an example, which cargo builds with the tests.
///
/// # Panics
/// If it is older than a file that it is made of: a single test does not build the examples.
fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.parent().unwrap().parent().unwrap().join("examples");
    let program = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let build = "`cargo build --profile test --examples` builds it";
    let built = std::fs::metadata(&program).and_then(|file| file.modified());
    let built = built.unwrap_or_else(|error| panic!("{}: {error}. {build}", program.display()));
    let sources = read(folder.join(format!("{name}.d")));
    let (_, sources) = sources.split_once(": ").expect("a list of sources");
    for source in sources.split_whitespace() {
        let changed = std::fs::metadata(source).and_then(|file| file.modified());
        let changed = changed.unwrap_or_else(|error| panic!("{source}: {error}. {build}"));
        assert!(changed <= built, "{name} is older than {source}. {build}");
    }
    program
}

fn run(name: &str, arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(program(name));
    let command = command.args(arguments).env("SEEMORE_BOOK", folder);
    let output = command.env("SEEMORE_DEVICE", "cpu:1").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
    output
}

fn stdout(output: Output) -> String {
    String::from_utf8(output.stdout).unwrap()
}

/// A text as numbers and what stands between them.
fn pieces(text: &str) -> Vec<&str> {
    let digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let (mut found, mut start, mut at) = (vec![], 0, 0);
    while at < text.len() {
        if !digit(at) {
            at += 1;
            continue;
        }
        let sign = at > start && text.as_bytes()[at - 1] == b'-';
        let first = at - sign as usize;
        while digit(at) || text.as_bytes().get(at) == Some(&b'.') && digit(at + 1) {
            at += 1;
        }
        found.extend([&text[start..first], &text[first..at]]);
        start = at;
    }
    found.push(&text[start..]);
    found
}

fn decimals(number: &str) -> Option<usize> {
    number.split_once('.').map(|(_, decimals)| decimals.len())
}

/// Whether two numbers are the same but for one in their last decimal.
fn same_number(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let (Some(places), Ok(x), Ok(y)) = (decimals(a), a.parse::<f64>(), b.parse::<f64>()) else {
        return false;
    };
    decimals(b) == Some(places) && (x - y).abs() < 1.01 * 10f64.powi(-(places as i32))
}

/// Whether two texts are the same but for times and last decimals. Spaces in front of numbers give
/// way to signs.
fn same(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let (a, b) = (pieces(a), pieces(b));
    let is_time = |list: &[&str], at: usize| {
        let next = list.get(at + 1).unwrap_or(&"");
        TIMES.iter().any(|unit| next.starts_with(unit))
    };
    a.len() == b.len()
        && (0..a.len()).all(|at| match at % 2 {
            0 => a[at].trim_end() == b[at].trim_end(),
            _ => is_time(&a, at) && is_time(&b, at) || same_number(a[at], b[at]),
        })
}

/// Fenced blocks with the words after the fence.
fn blocks(text: &str) -> Vec<(String, Vec<&str>)> {
    let mut found: Vec<(String, Vec<&str>)> = vec![];
    let mut inside = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(info) => {
                found.push((info.to_owned(), vec![]));
                inside = true;
            }
            None if inside => found.last_mut().unwrap().1.push(line),
            None => {}
        }
    }
    assert!(!inside, "a block without an end");
    found
}

/// The text without fenced blocks, code, and targets of links.
fn prose(text: &str) -> String {
    let mut inside = false;
    let outside = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    let lines = outside.collect::<Vec<_>>().join("\n");
    let without_code: String = lines.split('`').step_by(2).collect();
    let mut parts = without_code.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once(')').map_or("", |(_, rest)| rest)
    })
}

/// Finds the lines of a quotation in the output; a line of three dots stands for any number.
#[track_caller]
fn find_quotation(chapter: &str, quoted: &[&str], output: &str) {
    let output: Vec<&str> = output.lines().map(str::trim_end).collect();
    let mut from = 0;
    for part in quoted.split(|line| *line == "...") {
        let fits = |at: &usize| {
            let lines = output[*at..].iter().zip(part);
            lines.clone().count() == part.len() && lines.clone().all(|(a, b)| same(a, b.trim_end()))
        };
        let Some(at) = (from..=output.len()).find(fits) else {
            panic!(
                "{chapter} quotes\n{}\nbut its example prints\n{}",
                part.join("\n"),
                output[from.min(output.len())..].join("\n")
            )
        };
        from = at + part.len();
    }
}

#[test]
fn examples_print_what_the_text_quotes_and_draw_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    // in order: chapters 12 and 13 look at the model that chapter 11 trains
    let outputs: BTreeMap<String, String> = examples()
        .into_iter()
        .map(|name| {
            let output = stdout(run(&name, &[], folder.path()));
            (name, output)
        })
        .collect();

    let mut quoted = BTreeSet::new();
    for (chapter, text) in chapters() {
        for (info, lines) in blocks(&text) {
            let Some(name) = info.strip_prefix("text,output ") else {
                continue;
            };
            let output = outputs.get(name);
            let output = output.unwrap_or_else(|| panic!("{chapter}: there is no example {name}"));
            find_quotation(&chapter, &lines, output);
            quoted.insert(name.to_owned());
        }
        // numbers in sentences are printed by an example that the chapter quotes, or stand in it
        let names: Vec<&String> = outputs
            .keys()
            .filter(|name| text.contains(&format!("text,output {name}")))
            .collect();
        let known: Vec<String> = names
            .iter()
            .flat_map(|name| [outputs[*name].clone(), read(format!("examples/{name}.rs"))])
            .collect();
        for number in pieces(&prose(&text)).into_iter().skip(1).step_by(2) {
            let excused = FROM_ELSEWHERE.contains(&(chapter.as_str(), number));
            let mut all = known.iter().flat_map(|known| pieces(known));
            assert!(
                decimals(number).is_none() || excused || all.any(|have| same_number(have, number)),
                "{chapter}: no example prints {number}"
            );
        }
    }
    let all: BTreeSet<String> = outputs.into_keys().collect();
    assert_eq!(quoted, all, "examples whose output no chapter quotes");

    let figures = format!("{BOOK}/figures");
    let drawn = stems(folder.path().to_str().unwrap(), "svg");
    assert_eq!(drawn, stems(&figures, "svg"), "figures");
    for name in drawn {
        let (ours, new) = (
            read(format!("{figures}/{name}.svg")),
            read(folder.path().join(&name).with_extension("svg")),
        );
        assert!(
            same(&ours, &new),
            "{name}.svg is not what its example draws: `make figures` replaces it"
        );
        assert!(ours.contains("<title>"), "{name}.svg has no title");
    }
}

#[test]
fn the_whole_model_in_one_file_learns_three_drawings() {
    let folder = tempfile::tempdir().unwrap();
    let output = stdout(run("seemore", &["small"], folder.path()));
    assert!(output.contains("\nred heart: red heart\n"), "{output}");
    assert!(output.ends_with("3 of 3 captions are right\n"), "{output}");
}

#[test]
fn examples_are_short() {
    let limits = examples().into_iter().map(|name| (name, EXAMPLE_LINES));
    for (name, limit) in limits.chain([("seemore".to_owned(), WHOLE_MODEL_LINES)]) {
        let text = read(format!("examples/{name}.rs"));
        let lines = text.lines().filter(|line| !line.contains("// ANCHOR"));
        let count = lines.count();
        assert!(
            count <= limit,
            "examples/{name}.rs has {count} lines, at most {limit}"
        );
    }
}

/// The names that links to headings use.
fn headings(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let name = |line: &str| {
        let line = line.trim_start_matches('#').trim().to_lowercase();
        let letters = line
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        letters.collect::<String>().replace(' ', "-")
    };
    headings.map(name).collect()
}

#[test]
fn links_lead_somewhere_and_figures_have_a_description() {
    for (chapter, text) in chapters() {
        for (at, _) in text.match_indices("](") {
            let before = &text[..at];
            let name = &before[before.rfind('[').expect("a link has a name") + 1..];
            assert!(
                !name.trim().is_empty(),
                "{chapter}: a link or figure without a text"
            );
            let link = text[at + 2..].split(')').next().unwrap_or_default();
            if link.starts_with("https://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = match path {
                "" => PathBuf::from(format!("{BOOK}/{chapter}.md")),
                path => Path::new(BOOK).join(path),
            };
            assert!(path.exists(), "{chapter} links to {link}");
            if !heading.is_empty() {
                assert!(
                    headings(&read(path)).contains(heading),
                    "{chapter} links to {link}"
                );
            }
        }
        for (_, name) in text.match_indices("--example ").map(|(at, word)| {
            let rest = &text[at + word.len()..];
            (at, rest.split_whitespace().next().unwrap_or_default())
        }) {
            let path = format!("examples/{name}.rs");
            assert!(Path::new(&path).exists(), "{chapter} runs {path}");
        }
    }
}

#[test]
fn included_lines_exist() {
    let mut count = 0;
    for (chapter, text) in chapters() {
        for (at, word) in text.match_indices("{{#include ") {
            let what = text[at + word.len()..]
                .split("}}")
                .next()
                .unwrap_or_default();
            let (path, anchor) = what.split_once(':').expect("included lines have a name");
            let source = read(Path::new(BOOK).join(path));
            for mark in [
                format!("ANCHOR: {anchor}\n"),
                format!("ANCHOR_END: {anchor}\n"),
            ] {
                assert_eq!(
                    source.matches(&mark).count(),
                    1,
                    "{chapter}: {mark} in {path}"
                );
            }
            count += 1;
        }
    }
    assert!(count > 14, "only {count} chapters show the project's code");
}

#[test]
fn every_chapter_is_listed_and_has_exercises_with_solutions() {
    let summary = read(format!("{BOOK}/SUMMARY.md"));
    for (chapter, text) in chapters() {
        if chapter == "SUMMARY" {
            continue;
        }
        assert!(
            summary.contains(&format!("({chapter}.md)")),
            "{chapter} is not listed"
        );
        if chapter != "introduction" {
            let (_, exercises) = text.split_once("\n## Exercises\n").expect("exercises");
            let (_, solutions) = exercises.split_once("<details>").expect("solutions");
            assert!(
                solutions.contains("\n1. ") && solutions.contains("\n2. "),
                "{chapter}"
            );
        }
    }
}

#[test]
fn numbers_are_compared_to_their_last_decimal() {
    assert!(same("loss 0.25, step 3", "loss 0.26, step 3"));
    assert!(!same("loss 0.25, step 3", "loss 0.27, step 3"));
    assert!(!same("loss 0.25, step 3", "loss 0.25, step 4"));
    assert!(!same("loss 0.25", "loss 0.250"));
    assert!(same("x  0.00 1.00", "x -0.01 1.00"));
    assert!(same(
        "naive 12.50 ms, off by 0.1",
        "naive 3.20 ms, off by 0.1"
    ));
    assert!(!same(
        "naive 12.50 ms, off by 0.1",
        "tiled 12.50 ms, off by 0.1"
    ));
}
