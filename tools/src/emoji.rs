//! The captioned emoji art: assignment of packages to files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use indicatif::{ParallelProgressIterator, ProgressBar, ProgressStyle};
use rayon::prelude::*;

use crate::composition::{Kind, held_out};
use crate::drawing;
use crate::icons::{Drawing, IconSet};
use crate::labels::{self, Emoji};
use crate::names;

/// Training files with their packages. Fluent's colour drawings are its flat drawings with shading,
/// so they stay together.
pub const TRAINING: [(&str, &[&str]); 6] = [
    ("noto", &["noto"]),
    ("noto-v1", &["noto-v1"]),
    ("twemoji", &["twemoji"]),
    ("fluent", &["fluent-emoji-flat", "fluent-emoji"]),
    ("emojione", &["emojione"]),
    ("streamline", &["streamline-emojis"]),
];
/// Packages whose drawings of held-out captions make up the composition test.
const COMPOSITION: [&str; 3] = ["noto", "twemoji", "fluent-emoji-flat"];
/// Side of the shipped pictures, in pixels.
pub const SHIPPED_SIDE: u32 = 64;
/// Package without skin tones in training: they repeat those of the flat drawings, and gradients
/// take many bytes.
const UNTONED: &str = "fluent-emoji";
/// Package that uses the icon names of another package, but lacks its code points.
const BORROWS: (&str, &str) = ("fluent-emoji", "fluent-emoji-flat");

/// Package with several drawings of some emoji, by number. Of people whose skin may have a tone, the
/// first is yellow, and the second of two light.
const NUMBERED: &str = "streamline-emojis";

/// A picture with its labels.
struct Row<'a> {
    picture: String,
    emoji: &'a Emoji,
}

/// Writes all files to `out`, from the npm packages in `packages`.
pub fn write(packages: &Path, out: &Path, side: u32) -> Result<()> {
    let emoji = labels::read(packages)?;
    let untoned: Vec<_> = emoji.iter().filter(|e| e.tone.is_none()).cloned().collect();
    let held = held_out(&emoji);
    let mut composition = Vec::new();
    let mut training = Vec::new();
    for (file, artists) in TRAINING {
        let mut kept = Vec::new();
        for artist in artists {
            let wanted = if *artist == UNTONED { &untoned } else { &emoji };
            let (test, train): (Vec<_>, Vec<_>) = rows(packages, artist, wanted, side)?
                .into_iter()
                .partition(|row| held.contains_key(row.emoji.caption.as_str()));
            kept.extend(train);
            if COMPOSITION.contains(artist) {
                composition.extend(test);
            }
        }
        training.push((file, kept));
    }
    // a picture that is also in a training file tests nothing
    let seen: BTreeSet<_> = training
        .iter()
        .flat_map(|(_, rows)| rows.iter().map(|row| row.picture.as_str()))
        .collect();
    let before = composition.len();
    composition.retain(|row| !seen.contains(row.picture.as_str()));
    println!(
        "composition: {} pictures also drawn for another caption were left out",
        before - composition.len()
    );
    let captions: BTreeSet<_> = training
        .iter()
        .flat_map(|(_, rows)| rows.iter().map(|row| row.emoji.caption.as_str()))
        .collect();
    for caption in held.keys() {
        ensure!(
            !captions.contains(caption),
            "the held-out caption \"{caption}\" is in a training file"
        );
    }

    for (file, rows) in &training {
        save(&out.join(format!("{file}.csv")), rows, None)?;
    }
    save(&out.join("composition.csv"), &composition, Some(&held))?;
    save(
        &out.join("fxemoji.csv"),
        &rows(packages, "fxemoji", &emoji, side)?,
        None,
    )?;
    save(
        &out.join("openmoji/openmoji.csv"),
        &rows(packages, "openmoji", &untoned, side)?,
        None,
    )
}

/// Opens the package of an artist.
pub fn open(packages: &Path, artist: &str) -> Result<IconSet> {
    let folder = packages.join("@iconify-json");
    let mut set = IconSet::open(&folder.join(artist))?;
    if artist == NUMBERED {
        set.hide_first_numbers();
        set.leave_out(names::FLAGS_OF_STREAMLINE);
    }
    if artist == BORROWS.0 {
        set.borrow_codes(&IconSet::open(&folder.join(BORROWS.1))?);
    }
    Ok(set)
}

/// Returns the emoji that one artist drew, in the order of `emoji`.
fn rows<'a>(packages: &Path, artist: &str, emoji: &'a [Emoji], side: u32) -> Result<Vec<Row<'a>>> {
    drawn(packages, artist, emoji, side, |emoji, rgb| {
        let picture = STANDARD.encode(drawing::encode_webp(&rgb, side)?);
        Ok(Row { picture, emoji })
    })
}

/// Passes what one artist drew to `make`, in the order of `emoji`, as pixels `[side, side, 3]` on
/// white.
pub fn drawn<'a, T: Send>(
    packages: &Path,
    artist: &str,
    emoji: &'a [Emoji],
    side: u32,
    make: impl Fn(&'a Emoji, Vec<u8>) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let set = open(packages, artist)?;
    let mut drawings = align(&set, names::of(artist), emoji)?;
    if artist == NUMBERED {
        drawings = with_further(&set, drawings, emoji);
    }
    let style = ProgressStyle::with_template("{prefix:18} {bar:40} {pos}/{len} {eta}")?;
    let bar = ProgressBar::new(drawings.len() as u64)
        .with_style(style)
        .with_prefix(artist.to_string());
    drawings
        .into_par_iter()
        .progress_with(bar)
        .map(|(emoji, drawing)| {
            let mut rgb = drawing::render(&set.text(drawing), side)
                .with_context(|| format!("package {artist}, icon \"{}\"", emoji.caption))?;
            drawing::round_colours(&mut rgb);
            make(emoji, rgb)
        })
        .collect()
}

/// Pairs emoji with drawings in `set`: by code points, else by a name listed in `known`, by caption
/// or by shortcode, in order of reliability. A drawing serves one emoji only.
pub fn align<'a, 'b>(
    set: &'b IconSet,
    known: names::Names,
    emoji: &'a [Emoji],
) -> Result<Vec<(&'a Emoji, Drawing<'b>)>> {
    let known: BTreeMap<_, _> = known.iter().copied().collect();
    let mut found: BTreeMap<usize, Drawing> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for way in 0..4 {
        for (i, e) in emoji.iter().enumerate() {
            if found.contains_key(&i) {
                continue;
            }
            let drawings = match way {
                0 => vec![set.by_code(&e.code)?],
                1 => known
                    .get(e.code.as_str())
                    .unwrap_or(&&[][..])
                    .iter()
                    .map(|name| set.by_letters(name))
                    .collect::<Result<_>>()?,
                _ => e.names[way - 2]
                    .iter()
                    .map(|name| set.by_letters(name))
                    .collect::<Result<_>>()?,
            };
            if let Some(drawing) = drawings
                .into_iter()
                .flatten()
                .find(|drawing| !taken.contains(drawing))
            {
                taken.insert(drawing);
                found.insert(i, drawing);
            }
        }
    }
    Ok(found
        .into_iter()
        .map(|(i, drawing)| (&emoji[i], drawing))
        .collect())
}

/// Puts the further drawings of each emoji behind its first.
fn with_further<'a, 'b>(
    set: &'b IconSet,
    first: Vec<(&'a Emoji, Drawing<'b>)>,
    emoji: &'a [Emoji],
) -> Vec<(&'a Emoji, Drawing<'b>)> {
    let mut all = vec![];
    for (e, drawing) in first {
        all.push((e, drawing));
        let further = set.further(drawing);
        let light = emoji
            .iter()
            .find(|other| other.base == e.code && other.tone == Some(0));
        match (light, &further[..]) {
            (None, _) => all.extend(further.into_iter().map(|drawing| (e, drawing))),
            (Some(light), &[second]) => all.push((light, second)),
            // a shade of its own, between the tones
            (Some(_), _) => {}
        }
    }
    all
}

/// Writes rows as CSV, with the kind of each caption if `held` is given.
fn save(path: &Path, rows: &[Row], held: Option<&BTreeMap<&str, Kind>>) -> Result<()> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let header = ["b64string_images", "caption", "concept"];
    csv.write_record(header.iter().copied().chain(held.map(|_| "kind")))?;
    for row in rows {
        let e = row.emoji;
        let kind = held.map(|held| held[e.caption.as_str()].name());
        csv.write_record(
            [row.picture.as_str(), &e.caption, &e.concept]
                .into_iter()
                .chain(kind),
        )?;
    }
    let folder = path.parent().context("the output file has no folder")?;
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot create folder {}", folder.display()))?;
    let csv = csv.into_inner()?;
    fs::write(path, &csv).with_context(|| format!("cannot write {}", path.display()))?;
    let captions: BTreeSet<_> = rows.iter().map(|row| &row.emoji.caption).collect();
    println!(
        "{}: {} pictures, {} captions, {} bytes",
        path.display(),
        rows.len(),
        captions.len(),
        csv.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::{Map, Value, json};

    use super::*;

    const ROLES: [&str; 5] = ["cook", "pilot", "judge", "singer", "farmer"];

    /// A folder of tiny packages: ten people of five roles with five tones each, and a plum, drawn
    /// by every artist.
    fn packages() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut labels =
            vec![json!({ "hexcode": "FF00-FE0F", "label": "Plum", "group": 4, "subgroup": 42 })];
        for (i, role) in ROLES.iter().enumerate() {
            for (j, who) in ["man", "woman"].iter().enumerate() {
                let (code, label) = (format!("1F{i}{j}0"), format!("{who} {role}"));
                let skins: Vec<_> = (1..=5)
                    .map(|tone| json!({ "hexcode": format!("{code}-{tone}"), "label": format!("{label}: tone {tone}"), "tone": tone }))
                    .collect();
                labels.push(json!({ "hexcode": code, "label": label, "group": 1, "subgroup": 25, "skins": skins }));
            }
        }
        let english = folder.path().join("emojibase-data/en");
        fs::create_dir_all(english.join("shortcodes")).unwrap();
        for name in [
            "cldr",
            "emojibase",
            "emojibase-legacy",
            "joypixels",
            "iamcal",
        ] {
            fs::write(english.join(format!("shortcodes/{name}.json")), "{}").unwrap();
        }
        fs::write(english.join("data.json"), Value::from(labels).to_string()).unwrap();

        let emoji = labels::read(folder.path()).unwrap();
        let artists = TRAINING
            .iter()
            .flat_map(|(_, artists)| artists.iter().copied())
            .chain(["fxemoji", "openmoji"]);
        for (a, artist) in artists.enumerate() {
            let package = folder.path().join("@iconify-json").join(artist);
            fs::create_dir_all(&package).unwrap();
            // drawings differ in height by artist and in colour by emoji
            let icons: Map<_, _> = (emoji.iter().enumerate())
                .map(|(i, e)| {
                    let body = format!(
                        "<path fill='#{:02x}40{:02x}' d='M0 0H9V{}H0Z'/>",
                        i % 16 * 16,
                        i / 16 * 16,
                        a + 1
                    );
                    (e.names[0][0].clone(), json!({ "body": body }))
                })
                .collect();
            fs::write(
                package.join("icons.json"),
                json!({ "icons": icons, "width": 10, "height": 10 }).to_string(),
            )
            .unwrap();
        }
        folder
    }

    fn files(out: &Path) -> Vec<PathBuf> {
        let names = TRAINING.iter().map(|(name, _)| format!("{name}.csv"));
        names
            .chain(["composition.csv", "fxemoji.csv", "openmoji/openmoji.csv"].map(String::from))
            .map(|name| out.join(name))
            .collect()
    }

    fn read(path: &Path) -> Vec<csv::StringRecord> {
        csv::Reader::from_path(path)
            .unwrap()
            .records()
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn the_second_of_two_drawings_is_light_where_a_tone_is_possible() {
        let folder = packages();
        let emoji = labels::read(folder.path()).unwrap();
        let package = folder.path().join("@iconify-json").join(NUMBERED);
        let body = json!({ "body": "<a/>" });
        let icons = json!({ "icons": {
            "man-cook-1": body, "man-cook-2": body, "plum-1": body, "plum-2": body, "plum-3": body,
            "woman-cook-1": body, "woman-cook-2": body, "woman-cook-3": body,
        } });
        fs::write(package.join("icons.json"), icons.to_string()).unwrap();
        let set = open(folder.path(), NUMBERED).unwrap();
        let first = align(&set, names::of(NUMBERED), &emoji).unwrap();
        let all = with_further(&set, first, &emoji);
        let captions: Vec<&str> = all.iter().map(|(e, _)| e.caption.as_str()).collect();
        let expected = [
            "plum",
            "plum",
            "plum",
            "man cook",
            "man cook: tone 1",
            "woman cook",
        ];
        assert_eq!(captions, expected);
    }

    #[test]
    fn keeps_held_out_captions_from_training_and_is_reproducible() {
        let packages = packages();
        let out = packages.path().join("out/deep");
        write(packages.path(), &out, 16).unwrap();
        let first: Vec<_> = files(&out)
            .iter()
            .map(|path| fs::read(path).unwrap())
            .collect();
        write(packages.path(), &out, 16).unwrap();
        let second: Vec<_> = files(&out)
            .iter()
            .map(|path| fs::read(path).unwrap())
            .collect();
        assert!(first == second);

        let files = files(&out);
        let (training, tests) = files.split_at(TRAINING.len());
        let trained: BTreeSet<_> = training
            .iter()
            .flat_map(|path| read(path))
            .map(|row| row[1].to_string())
            .collect();
        let composition = read(&tests[0]);
        assert!(composition.iter().all(|row| !trained.contains(&row[1])));
        // of 61 captions, nine people lose one tone of five, and the tenth is a held-out role with
        // six captions
        assert_eq!(trained.len(), 61 - 9 - 6);
        let kinds = |kind: &str| composition.iter().filter(|row| &row[3] == kind).count();
        // the colour drawings are not part of the test
        assert_eq!((kinds("tone"), kinds("role")), (3 * 9, 3 * 6));
        // flat drawings with tones, colour drawings without: nine people and the plum
        assert_eq!(read(&training[3]).len(), 46 + 10);
        assert_eq!(read(&tests[1]).len(), 61);
        // without skin tones the concept is the caption, except for roles
        assert!(
            read(&tests[2])
                .iter()
                .all(|row| row[1] == row[2] || row[1].contains("man "))
        );

        let row = &read(&training[0])[0];
        assert_eq!((&row[1], &row[2]), ("plum", "plum"));
        let picture = image::load_from_memory(&STANDARD.decode(&row[0]).unwrap()).unwrap();
        assert_eq!((picture.width(), picture.height()), (16, 16));
    }

    #[test]
    fn drops_test_pictures_that_are_in_training() {
        let packages = packages();
        // one drawing for everything, so held-out pictures equal training pictures
        let noto = packages.path().join("@iconify-json/noto/icons.json");
        let mut icons: Value = serde_json::from_str(&fs::read_to_string(&noto).unwrap()).unwrap();
        for icon in icons["icons"].as_object_mut().unwrap().values_mut() {
            *icon = json!({ "body": "<path d='M0 0H9V9H0Z'/>" });
        }
        fs::write(&noto, icons.to_string()).unwrap();
        let out = packages.path().join("out");
        write(packages.path(), &out, 16).unwrap();
        assert_eq!(read(&out.join("composition.csv")).len(), 2 * (9 + 6));
    }

    #[test]
    fn prefers_reliable_matches_and_uses_drawings_once() {
        let packages = packages();
        let package = packages.path().join("set");
        fs::create_dir_all(&package).unwrap();
        let icons: Map<_, _> = ["plum", "man-cook", "prune", "hidden"]
            .map(|name| (name.to_string(), json!({ "body": format!("<{name}/>") })))
            .into_iter()
            .collect();
        fs::write(
            package.join("icons.json"),
            json!({ "icons": icons }).to_string(),
        )
        .unwrap();
        fs::write(package.join("chars.json"), r#"{"1f000": "plum"}"#).unwrap();
        let set = IconSet::open(&package).unwrap();
        let emoji = labels::read(packages.path()).unwrap();
        let aligned = |known| -> Vec<_> {
            let found = align(&set, known, &emoji).unwrap();
            found
                .into_iter()
                .map(|(e, drawing)| (e.caption.as_str(), set.text(drawing)))
                .collect()
        };
        // the code point gives the plum to the man cook, so the plum has no drawing and the drawing
        // named for him is unused
        let found = aligned(&[]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].0 == "man cook" && found[0].1.contains("<plum/>"),
            "{found:?}"
        );
        let found = aligned(&[("ff00", &["prune"]), ("1f000", &["hidden"])]);
        assert_eq!(found.len(), 2);
        assert!(
            found[0].0 == "plum" && found[0].1.contains("<prune/>"),
            "{found:?}"
        );
        assert!(found[1].1.contains("<plum/>"), "{found:?}");
    }
}
