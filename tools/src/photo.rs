//! Drawings with questions and answers for the captioner of photographs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use image::RgbImage;
use indicatif::{ParallelProgressIterator, ProgressBar, ProgressStyle};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use resvg::tiny_skia::{Color, Pixmap};
use serde_json::{Value, json};

use crate::composition::held_out;
use crate::emoji::{SHIPPED_SIDE, TRAINING, align, drawn, open};
use crate::labels::{self, Emoji, TONES};
use crate::role::role;
use crate::scene::{Place, SIDE, compose};
use crate::words::{counted, everyday, kind, with_article};
use crate::{drawing, names};

/// Artist of the scenes that are held back, who drew none of the others.
const HELD_BACK: &str = "fxemoji";
/// Scenes of several drawings to train on, and held back.
const SCENES: [usize; 2] = [1000, 300];
/// One in this many pairs of things appears in scenes that are held back only.
const PAIRS_PER_HELD_BACK: u64 = 10;
const SEED: u64 = 1337;

/// Question for the name of an emoji, with its gender and skin tone.
pub const NAME: &str = "Name it.";
/// Questions that parts of the name answer: the emoji without them, who it is, and the tone.
const WHICH: &str = "Which emoji?";
const WHO: &str = "Man or woman?";
const TONE: &str = "Which skin tone?";
/// Question that photographs are captioned with.
pub const WHAT: &str = "What is this?";
/// Question for the places of several things.
pub const WHERE: &str = "What is where?";
/// Question for a sentence, as `seemore caption --style detailed` asks.
const DESCRIBE: &str = "Can you describe this image?";
/// Longest answer that is trained on, in characters: texts are padded to the longest of all.
const LONGEST: usize = 72;
/// Packages whose drawings are not named, since they are variants of another package's.
const VARIANTS: [&str; 2] = ["noto-v1", "fluent-emoji"];
/// Average number of names for each that is trained on: of things, of other emoji, and of people with
/// a skin tone.
const NAMES: [u32; 3] = [1, 2, 2];
/// Average number of things for each that is described in a sentence, too.
const SENTENCES: u32 = 3;

/// A drawing of a thing.
struct Thing<'a> {
    emoji: &'a Emoji,
    picture: Pixmap,
}

/// Writes the pictures, `train.json`, `crossed.json`, `names.json` and `scenes.json` to `out`, from the
/// npm packages in `packages`.
pub fn write(packages: &Path, out: &Path) -> Result<()> {
    let emoji = labels::read(packages)?;
    let untoned = emoji.iter().filter(|e| e.tone.is_none());
    let plain: Vec<Emoji> = untoned.cloned().collect();
    let artists = TRAINING.iter().flat_map(|(_, artists)| *artists);
    let mut shown = vec![];
    let (mut named, mut facts, mut crossed) = (vec![], vec![], vec![]);
    let held_out = held_out(&emoji);
    for artist in artists {
        shown.extend(things(packages, artist, &plain)?);
        if VARIANTS.contains(artist) {
            continue;
        }
        let drawings = drawn(packages, artist, &emoji, SHIPPED_SIDE, |emoji, rgb| {
            Ok((emoji, rgb))
        })?;
        for (emoji, rgb) in drawings {
            if held_out.contains_key(emoji.caption.as_str()) {
                continue;
            }
            let mut pictures = Pictures::of(out, "names", facts.len() / FACTS);
            let image = pictures.save(rgb, SHIPPED_SIDE)?;
            named.push((emoji, entry(&image, NAME, &emoji.caption)));
            facts.extend(about_name(&image, emoji));
            if emoji.tone.is_none() && is_object(emoji) {
                let (name, kind) = words(emoji);
                crossed.push(entry(&image, WHAT, &format!("{name}{kind}")));
            }
        }
    }
    let drawings = all("drawings", &shown, out, about)?.into_iter();
    let (on_grounds, mut entries): (Vec<Value>, Vec<Value>) =
        drawings.partition(|entry| text(entry, 0).ends_with(NAME));
    crossed.extend(on_grounds);
    let scenes = |name: &str, count: usize, shown: &[Thing], held_back: bool| {
        let objects = shown.iter().filter(|thing| is_object(thing.emoji));
        let objects: Vec<&Thing> = objects.collect();
        all(name, &vec![(); count], out, |(), pictures, random| {
            let (picture, caption) = scene(&objects, held_back, random);
            let image = pictures.save(picture, SIDE)?;
            Ok(vec![entry(&image, WHERE, &caption)])
        })
    };
    entries.extend(scenes("scenes", SCENES[0], &shown, false)?);
    entries.extend(some_names(named));
    let fits = |entry: &Value| text(entry, 1).chars().count() <= LONGEST;
    entries.retain(fits);
    save(&out.join("train.json"), &entries)?;
    crossed.retain(fits);
    save(&out.join("crossed.json"), &crossed)?;
    save(&out.join("names.json"), &facts)?;
    let unseen = things(packages, HELD_BACK, &plain)?;
    let held_back = scenes("held-back", SCENES[1], &unseen, true)?;
    save(&out.join("scenes.json"), &held_back)
}

/// Number of questions that [`about_name`] answers.
const FACTS: usize = 3;

/// Answers to the questions that parts of an emoji's name answer.
fn about_name(image: &str, emoji: &Emoji) -> [Value; FACTS] {
    let words = emoji.caption.split([' ', ':', ',']);
    let people: Vec<&str> = words
        .filter(|word| ["man", "woman"].contains(word))
        .collect();
    let who = match (role(&emoji.caption), &people[..]) {
        (Some((_, true)), _) => "woman",
        (Some((_, false)), _) => "man",
        // alone, the word is no role
        (None, &[word]) => word,
        (None, _) => "neither",
    };
    let tone = emoji.tone.map_or("none", |tone| TONES[tone]);
    [
        entry(image, WHICH, &emoji.concept),
        entry(image, WHO, who),
        entry(image, TONE, tone),
    ]
}

/// Keeps some of the names: most pictures should be told of in everyday words.
///
/// Chooses at random, since emoji are in the order of their skin tones, and every second one would
/// leave some tones out.
fn some_names(named: Vec<(&Emoji, Value)>) -> Vec<Value> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut keeps = |emoji: &Emoji| {
        let kind = match emoji.tone {
            None => usize::from(!is_object(emoji)),
            Some(_) => 2,
        };
        random.random_ratio(1, NAMES[kind])
    };
    let kept = named.into_iter().filter(|(emoji, _)| keeps(emoji));
    kept.map(|(_, entry)| entry).collect()
}

/// Returns what an artist drew, without a ground.
fn things<'a>(packages: &Path, artist: &str, emoji: &'a [Emoji]) -> Result<Vec<Thing<'a>>> {
    let set = open(packages, artist)?;
    let drawings = align(&set, names::of(artist), emoji)?;
    let bar = bar(artist, drawings.len())?;
    drawings
        .into_par_iter()
        .progress_with(bar)
        .map(|(emoji, it)| {
            let picture = drawing::fitted(&set.text(it), SIDE, Color::TRANSPARENT)
                .with_context(|| format!("package {artist}, icon \"{}\"", emoji.caption))?;
            Ok(Thing { emoji, picture })
        })
        .collect()
}

/// Whether an emoji shows a thing that photographs show, too: an animal, a plant, food, a place, a
/// vehicle, an object; neither a face nor a symbol, nor one of the clocks or of the decorations for
/// events.
fn is_object(emoji: &Emoji) -> bool {
    const CLOCKS: u8 = 58;
    const EVENTS: u8 = 60;
    const EVERYWHERE: [&str; 6] = [
        "jack-o-lantern",
        "christmas tree",
        "fireworks",
        "balloon",
        "ribbon",
        "wrapped gift",
    ];
    match emoji.subgroup {
        CLOCKS => false,
        EVENTS => EVERYWHERE.contains(&emoji.caption.as_str()),
        other => matches!(other, 34..=82),
    }
}

/// Everyday words for a thing, and its kind, which may be empty, with a comma in front.
fn words(emoji: &Emoji) -> (&str, String) {
    let name = everyday(&emoji.caption);
    let kind = kind(emoji.subgroup, name).map(with_article);
    let kind = kind.map_or(String::new(), |kind| format!(", {kind}"));
    (name, kind)
}

/// Draws a thing on a ground, with its everyday words, its emoji's name and sometimes a sentence.
fn about(thing: &Thing, pictures: &mut Pictures, random: &mut ChaCha8Rng) -> Result<Vec<Value>> {
    if !is_object(thing.emoji) {
        return Ok(vec![]);
    }
    let (name, kind) = words(thing.emoji);
    let place = Place {
        x: random.random_range(0.4..0.6),
        y: random.random_range(0.4..0.6),
        size: random.random_range(0.5..1.0),
        turn: random.random_range(-15.0..15.0),
        mirrored: random.random_bool(0.5),
    };
    let changed = pictures.save(compose(&[(&thing.picture, place)], random), SIDE)?;
    let sentence = format!("The picture shows {}{kind}.", with_article(name));
    let mut told = vec![
        entry(&changed, WHAT, &format!("{name}{kind}")),
        entry(&changed, NAME, &thing.emoji.caption),
    ];
    if random.random_ratio(1, SENTENCES) {
        told.push(entry(&changed, DESCRIBE, &sentence));
    }
    Ok(told)
}

/// Draws one to three of a thing beside one to three of another, and says so.
fn scene(shown: &[&Thing], held_back: bool, random: &mut ChaCha8Rng) -> (Vec<u8>, String) {
    let (first, second) = loop {
        let [first, second] = std::array::from_fn(|_| shown[random.random_range(0..shown.len())]);
        let apart = first.emoji.code != second.emoji.code;
        if apart && is_held_back(first.emoji, second.emoji) == held_back {
            break (first, second);
        }
    };
    let counts: [usize; 2] = std::array::from_fn(|_| [1, 1, 1, 2, 3][random.random_range(0..5)]);
    let upright = random.random_bool(0.5);
    let jitter = |random: &mut ChaCha8Rng, range: f32| random.random_range(-range..range);
    let mut drawings = vec![];
    for (number, (thing, count)) in [first, second].into_iter().zip(counts).enumerate() {
        let along = if number == 0 { 0.26 } else { 0.74 };
        let most = [0.46, 0.4, 0.3][count - 1];
        let size = most * random.random_range(0.75..1.0f32);
        for index in 0..count {
            let across = 0.5 + (index as f32 - (count as f32 - 1.0) / 2.0) * 0.9 * most;
            let (along, across) = (along + jitter(random, 0.03), across + jitter(random, 0.03));
            let (x, y) = if upright {
                (across, along)
            } else {
                (along, across)
            };
            let turn = jitter(random, 10.0);
            let place = Place {
                x,
                y,
                size,
                turn,
                mirrored: false,
            };
            drawings.push((&thing.picture, place));
        }
    }
    let relation = if upright { "above" } else { "left of" };
    let [first, second] = [(first, counts[0]), (second, counts[1])]
        .map(|(thing, count)| counted(everyday(&thing.emoji.caption), count));
    // the same scene can be told from either side
    let caption = match (random.random_bool(0.5), upright) {
        (true, true) => format!("{second} below {first}"),
        (true, false) => format!("{second} right of {first}"),
        (false, _) => format!("{first} {relation} {second}"),
    };
    (compose(&drawings, random), caption)
}

/// Whether scenes of two things are held back, in whichever order.
fn is_held_back(first: &Emoji, second: &Emoji) -> bool {
    let both = BTreeSet::from([&first.code, &second.code]);
    let bytes = both.into_iter().flat_map(|code| code.bytes());
    // FNV-1a
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    (hash >> 32).is_multiple_of(PAIRS_PER_HELD_BACK)
}

/// Text of a turn of an entry.
fn text(entry: &Value, turn: usize) -> &str {
    entry["conversations"][turn]["value"]
        .as_str()
        .unwrap_or_default()
}

/// An entry in LLaVA's form.
fn entry(image: &str, question: &str, answer: &str) -> Value {
    json!({"image": image, "conversations": [
        {"from": "human", "value": format!("<image>\n{question}")},
        {"from": "gpt", "value": answer},
    ]})
}

fn save(path: &Path, entries: &[Value]) -> Result<()> {
    let text = serde_json::to_string(entries)?.replace("},{\"conv", "},\n{\"conv");
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}: {} questions", path.display(), entries.len());
    Ok(())
}

fn bar(name: &str, length: usize) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{prefix:18} {bar:40} {pos}/{len} {eta}")?;
    Ok(ProgressBar::new(length as u64)
        .with_style(style)
        .with_prefix(name.to_string()))
}

/// Makes the entries of all items, each with random numbers of its own, so that they do not depend
/// on the order in which they are made.
fn all<T: Sync>(
    name: &str,
    items: &[T],
    out: &Path,
    make: impl Fn(&T, &mut Pictures, &mut ChaCha8Rng) -> Result<Vec<Value>> + Sync,
) -> Result<Vec<Value>> {
    let bar = bar(name, items.len())?;
    let made = items.par_iter().enumerate().progress_with(bar);
    let made = made.map(|(number, item)| {
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        random.set_stream(number as u64);
        make(item, &mut Pictures::of(out, name, number), &mut random)
    });
    let made = made.collect::<Result<Vec<Vec<Value>>>>()?;
    Ok(made.into_iter().flatten().collect())
}

/// Pictures of an item.
struct Pictures<'a> {
    out: &'a Path,
    prefix: String,
    saved: usize,
}

impl Pictures<'_> {
    fn of<'a>(out: &'a Path, kind: &str, number: usize) -> Pictures<'a> {
        Pictures {
            out,
            prefix: format!("{kind}/{number:05}"),
            saved: 0,
        }
    }

    /// Writes pixels `[side, side, 3]` as PNG, and returns the name of the file.
    fn save(&mut self, pixels: Vec<u8>, side: u32) -> Result<String> {
        let name = format!("{}-{}.png", self.prefix, self.saved);
        self.saved += 1;
        let path = self.out.join(&name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create folder {}", folder.display()))?;
        }
        let picture =
            RgbImage::from_raw(side, side, pixels).context("not the pixels of a picture")?;
        picture
            .save(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emoji(code: &str, caption: &str, subgroup: u8) -> Emoji {
        Emoji {
            code: code.into(),
            base: code.into(),
            caption: caption.into(),
            concept: caption.into(),
            tone: None,
            person: false,
            subgroup,
            names: Default::default(),
        }
    }

    #[test]
    fn names_are_kept_of_all_things_and_of_half_of_faces_and_each_skin_tone() {
        let (cat, face) = (
            emoji("1f408", "cat", 34),
            emoji("1f600", "grinning face", 0),
        );
        let people = [0, 1, 3, 4].map(|tone| Emoji {
            tone: Some(tone),
            ..emoji("1f9d1", "person", 20)
        });
        let all = people.iter().chain([&face, &cat]).cycle().take(6 * 400);
        let named = all.enumerate().map(|(at, emoji)| (emoji, json!(at)));
        let mut kept = [0; 6];
        for at in some_names(named.collect()) {
            kept[at.as_u64().unwrap() as usize % 6] += 1;
        }
        let [half @ .., cats] = kept;
        assert_eq!(cats, 400);
        // four standard deviations
        assert!(half.iter().all(|n| (160..240).contains(n)), "{half:?}");
    }

    #[test]
    fn parts_of_a_name_are_told_apart() {
        let told = |caption: &str, concept: &str, tone: Option<usize>| {
            let emoji = Emoji {
                concept: concept.into(),
                tone,
                ..emoji("1f468", caption, 20)
            };
            about_name("it.png", &emoji).map(|entry| text(&entry, 1).to_owned())
        };
        let farmer = told("woman farmer: medium-dark skin tone", "farmer", Some(3));
        assert_eq!(farmer, ["farmer", "woman", "medium-dark"]);
        assert_eq!(told("man", "man", None), ["man", "man", "none"]);
        let both = "woman and man holding hands";
        assert_eq!(told(both, both, None), [both, "neither", "none"]);
        assert_eq!(told("plum", "plum", None), ["plum", "neither", "none"]);
    }

    #[test]
    fn faces_and_clocks_are_no_things() {
        assert!(!is_object(&emoji("1f600", "grinning face", 0)));
        assert!(!is_object(&emoji("1f550", "one o'clock", 58)));
        assert!(is_object(&emoji("1f42d", "mouse face", 34)));
    }

    #[test]
    fn pairs_are_held_back_in_both_orders() {
        let all: Vec<Emoji> = (0..40)
            .map(|it| emoji(&format!("1f4{it:02}"), "it", 78))
            .collect();
        let pairs = || all.iter().flat_map(|a| all.iter().map(move |b| (a, b)));
        assert!(pairs().all(|(a, b)| is_held_back(a, b) == is_held_back(b, a)));
        let count = pairs().filter(|(a, b)| is_held_back(a, b)).count();
        assert!((80..240).contains(&count), "{count} of 1600");
    }

    #[test]
    fn scenes_say_what_they_show() {
        let (cat, axe) = (emoji("1f408", "cat", 34), emoji("1fa93", "axe", 78));
        let picture = Pixmap::new(SIDE, SIDE).unwrap();
        let thing = |emoji| Thing {
            emoji,
            picture: picture.clone(),
        };
        let (cat, axe) = (thing(&cat), thing(&axe));
        let held_back = is_held_back(cat.emoji, axe.emoji);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..20 {
            let (pixels, caption) = scene(&[&cat, &axe], held_back, &mut random);
            assert_eq!(pixels.len(), (SIDE * SIDE * 3) as usize);
            let relations = ["left of", "right of", "above", "below"];
            assert!(relations.iter().any(|it| caption.contains(it)), "{caption}");
            assert!(
                caption.contains("cat") && caption.contains("axe"),
                "{caption}"
            );
        }
    }
}
