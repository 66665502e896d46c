//! `inputs.csv` and `inputs_val.csv`: concepts and artists.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::drawing;
use crate::icons::{INSTALL, IconSet, read_json};

/// An everyday thing that all five artists draw similarly, and unlike the other concepts.
struct Concept {
    hexcode: &'static str,
    /// Icon names in packages with neither code points nor labels.
    other_names: &'static [&'static str],
}

const CONCEPTS: [Concept; 12] = [
    Concept {
        hexcode: "2764",
        other_names: &["redheart"],
    },
    Concept {
        hexcode: "1F33B",
        other_names: &[],
    },
    Concept {
        hexcode: "1F345",
        other_names: &[],
    },
    Concept {
        hexcode: "1F319",
        other_names: &["crescentmoon"],
    },
    Concept {
        hexcode: "1F4A7",
        other_names: &[],
    },
    Concept {
        hexcode: "1F43C",
        other_names: &["pandaface"],
    },
    Concept {
        hexcode: "1F511",
        other_names: &[],
    },
    Concept {
        hexcode: "1F332",
        other_names: &["evergreen"],
    },
    Concept {
        hexcode: "1F697",
        other_names: &[],
    },
    Concept {
        hexcode: "1F354",
        other_names: &[],
    },
    Concept {
        hexcode: "1F346",
        other_names: &["aubergine"],
    },
    Concept {
        hexcode: "1F427",
        other_names: &[],
    },
];

/// Packages of the training file.
const TRAINING: [&str; 4] = ["noto", "twemoji", "fluent-emoji-flat", "emojione"];
/// Packages of the validation file, by an artist that training never shows.
const VALIDATION: [&str; 1] = ["fxemoji"];

/// An entry of emojibase's English data.
#[derive(Deserialize)]
struct Emoji {
    hexcode: String,
    label: String,
}

/// Writes `inputs.csv` and `inputs_val.csv` to `out`, from the npm packages in `packages`.
pub fn write(packages: &Path, out: &Path, side: u32) -> Result<()> {
    let labels_path = packages.join("emojibase-data/en/data.json");
    let emoji: Vec<Emoji> = read_json(&labels_path)?;
    let labels = CONCEPTS
        .iter()
        .map(|concept| {
            let found = emoji.iter().find(|e| e.hexcode == concept.hexcode);
            found.map(|e| e.label.as_str()).with_context(|| {
                format!(
                    "{} has no label for {}; fetch the expected version with\n  {INSTALL}",
                    labels_path.display(),
                    concept.hexcode
                )
            })
        })
        .collect::<Result<Vec<_>>>()?;

    fs::create_dir_all(out).with_context(|| format!("cannot create folder {}", out.display()))?;
    for (name, artists) in [
        ("inputs.csv", &TRAINING[..]),
        ("inputs_val.csv", &VALIDATION[..]),
    ] {
        let path = out.join(name);
        let csv = rows(packages, artists, &labels, side)?;
        fs::write(&path, csv).with_context(|| format!("cannot write {}", path.display()))?;
        println!(
            "{}: {} pictures",
            path.display(),
            artists.len() * labels.len()
        );
    }
    Ok(())
}

/// Returns the CSV text of all concepts as drawn by all `artists`.
fn rows(packages: &Path, artists: &[&str], labels: &[&str], side: u32) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["b64string_images", "caption"])?;
    for artist in artists {
        let set = IconSet::open(&packages.join("@iconify-json").join(artist))?;
        for (concept, label) in CONCEPTS.iter().zip(labels) {
            let svg = set.svg(concept.hexcode, label, concept.other_names)?;
            let rgb = drawing::render(&svg, side)
                .with_context(|| format!("package {artist}, icon \"{label}\""))?;
            let picture = STANDARD.encode(drawing::encode_png(&rgb, side)?);
            csv.write_record([picture.as_str(), label])?;
        }
    }
    Ok(csv.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of tiny packages, whose icons are found by code point.
    fn packages() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let codes = CONCEPTS.map(|c| c.hexcode);
        for (i, artist) in TRAINING.iter().chain(&VALIDATION).enumerate() {
            let package = folder.path().join("@iconify-json").join(artist);
            fs::create_dir_all(&package).unwrap();
            let icons = codes.map(|code| {
                let body = format!("<path fill='red' d='M0 0H{}V9H0Z'/>", i + 4);
                (code.to_string(), serde_json::json!({ "body": body }))
            });
            let icons: serde_json::Map<_, _> = icons.into_iter().collect();
            let chars: serde_json::Map<_, _> = codes
                .iter()
                .map(|c| (c.to_lowercase(), (*c).into()))
                .collect();
            let icons = serde_json::json!({ "icons": icons, "width": 10, "height": 10 });
            fs::write(package.join("icons.json"), icons.to_string()).unwrap();
            fs::write(
                package.join("chars.json"),
                serde_json::Value::from(chars).to_string(),
            )
            .unwrap();
        }
        let labels = folder.path().join("emojibase-data/en");
        fs::create_dir_all(&labels).unwrap();
        let data: Vec<_> = codes
            .iter()
            .map(|c| serde_json::json!({ "hexcode": c, "label": format!("a {c}") }))
            .collect();
        fs::write(
            labels.join("data.json"),
            serde_json::Value::from(data).to_string(),
        )
        .unwrap();
        folder
    }

    #[test]
    fn writes_all_concepts_reproducibly() {
        let packages = packages();
        let out = packages.path().join("out/deep");
        write(packages.path(), &out, 16).unwrap();
        let first = fs::read(out.join("inputs.csv")).unwrap();
        write(packages.path(), &out, 16).unwrap();
        assert_eq!(first, fs::read(out.join("inputs.csv")).unwrap());

        for (file, count) in [("inputs.csv", 48), ("inputs_val.csv", 12)] {
            let mut csv = csv::Reader::from_path(out.join(file)).unwrap();
            assert_eq!(
                csv.headers().unwrap(),
                &csv::StringRecord::from(vec!["b64string_images", "caption"])
            );
            let rows: Vec<_> = csv.records().map(Result::unwrap).collect();
            assert_eq!(rows.len(), count);
            assert_eq!(&rows[0][1], "a 2764");
            let picture = image::load_from_memory(&STANDARD.decode(&rows[0][0]).unwrap()).unwrap();
            assert_eq!((picture.width(), picture.height()), (16, 16));
        }
    }

    #[test]
    fn errors_name_the_missing_package() {
        let packages = packages();
        fs::remove_dir_all(packages.path().join("@iconify-json/fxemoji")).unwrap();
        let error = write(packages.path(), &packages.path().join("out"), 16).unwrap_err();
        assert!(
            error.to_string().contains("fxemoji") && error.to_string().contains("npm install"),
            "{error}"
        );
    }
}
