//! Labels of emoji from emojibase's English data: code points, captions, concepts and names.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use crate::icons::{plain, read_json, slug};
use crate::role::share_concepts;

/// Groups of emojibase without captions: components (skin tones and hair), and flags.
const COMPONENT: u8 = 2;
const FLAGS: u8 = 9;
/// Group of people, and its subgroup of families.
const PEOPLE: u8 = 1;
const FAMILY: u8 = 30;

/// Files of alternative names, used by packages without code points.
const SHORTCODES: [&str; 5] = [
    "cldr",
    "emojibase",
    "emojibase-legacy",
    "joypixels",
    "iamcal",
];

/// Skin tones as written in icon names, in Unicode order.
pub const TONES: [&str; 5] = ["light", "medium-light", "medium", "medium-dark", "dark"];

/// One emoji, or one skin tone of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Emoji {
    /// Code points in `plain` form.
    pub code: String,
    /// Code points of the emoji without skin tone.
    pub base: String,
    pub caption: String,
    /// Caption without skin tone, and without gender for roles that both men and women have.
    pub concept: String,
    /// 0 to 4, light to dark.
    pub tone: Option<usize>,
    /// Whether it shows people other than families, and may have a role.
    pub person: bool,
    /// Subgroup in Unicode's order, such as 35 for birds.
    pub subgroup: u8,
    /// Possible icon names, in order of reliability: the caption, then shortcodes.
    pub names: [Vec<String>; 2],
}

#[derive(Deserialize)]
struct Entry {
    hexcode: String,
    label: String,
    group: Option<u8>,
    subgroup: Option<u8>,
    #[serde(default)]
    skins: Vec<Skin>,
}

#[derive(Deserialize)]
struct Skin {
    hexcode: String,
    label: String,
    tone: Tone,
}

/// One skin tone, or one for each of two people.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tone {
    One(usize),
    Two(#[expect(dead_code, reason = "only the shape distinguishes it from one tone")] [usize; 2]),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Shortcodes {
    One(String),
    Many(Vec<String>),
}

/// Reads all emoji except flags and components, each followed by its skin tones. Pairs of people
/// with two different tones are left out.
pub fn read(packages: &Path) -> Result<Vec<Emoji>> {
    let folder = packages.join("emojibase-data/en");
    let entries: Vec<Entry> = read_json(&folder.join("data.json"))?;
    let shortcodes = SHORTCODES
        .iter()
        .map(|name| read_json(&folder.join(format!("shortcodes/{name}.json"))))
        .collect::<Result<Vec<BTreeMap<String, Shortcodes>>>>()?;

    let mut emoji = Vec::new();
    for entry in entries {
        // regional indicators, the letters of flags, have no group
        if matches!(entry.group, None | Some(COMPONENT | FLAGS)) {
            continue;
        }
        let code = plain(&entry.hexcode);
        let concept = entry.label.to_lowercase();
        let person = entry.group == Some(PEOPLE) && entry.subgroup != Some(FAMILY);
        let mut other = Vec::new();
        for table in &shortcodes {
            match table.get(&entry.hexcode) {
                Some(Shortcodes::One(name)) => other.push(slug(name)),
                Some(Shortcodes::Many(many)) => other.extend(many.iter().map(|name| slug(name))),
                None => {}
            }
        }
        let names = [vec![slug(&entry.label)], other];
        let base = Emoji {
            code: code.clone(),
            base: code,
            caption: concept.clone(),
            concept,
            tone: None,
            person,
            subgroup: entry.subgroup.unwrap_or(u8::MAX),
            names,
        };
        let skins = entry.skins.iter().filter_map(|skin| match skin.tone {
            Tone::One(tone @ 1..=5) => Some((skin, tone - 1)),
            Tone::One(_) | Tone::Two(_) => None,
        });
        let tones: Vec<_> = skins
            .map(|(skin, tone)| {
                let toned = base
                    .names
                    .iter()
                    .flatten()
                    .map(|name| format!("{name}-{}-skin-tone", TONES[tone]));
                Emoji {
                    code: plain(&skin.hexcode),
                    caption: skin.label.to_lowercase(),
                    tone: Some(tone),
                    names: [vec![slug(&skin.label)], toned.collect()],
                    ..base.clone()
                }
            })
            .collect();
        emoji.push(base);
        emoji.extend(tones);
    }
    share_concepts(&mut emoji);
    Ok(emoji)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_out_flags_components_and_pairs_of_tones() {
        let folder = tempfile::tempdir().unwrap();
        let english = folder.path().join("emojibase-data/en");
        std::fs::create_dir_all(english.join("shortcodes")).unwrap();
        for name in SHORTCODES {
            std::fs::write(
                english.join(format!("shortcodes/{name}.json")),
                r#"{"1F44B": ["wave", "hi_there"], "2764-FE0F": "heart"}"#,
            )
            .unwrap();
        }
        std::fs::write(
            english.join("data.json"),
            r#"[{"hexcode": "1F1E6", "label": "regional indicator A"},
                {"hexcode": "1F3FB", "label": "light skin tone", "group": 2, "subgroup": 32},
                {"hexcode": "1F3C1", "label": "chequered flag", "group": 9, "subgroup": 97},
                {"hexcode": "2764-FE0F", "label": "Red heart", "group": 0, "subgroup": 14},
                {"hexcode": "1F44B", "label": "waving hand", "group": 1, "subgroup": 16, "skins": [
                    {"hexcode": "1F44B-1F3FC", "label": "waving hand: medium-light skin tone", "tone": 2},
                    {"hexcode": "1F44B-1F3FC-1F3FB", "label": "waving hand: two", "tone": [2, 1]}]},
                {"hexcode": "1F46A", "label": "family", "group": 1, "subgroup": 30}]"#,
        )
        .unwrap();
        let emoji = read(folder.path()).unwrap();
        let captions: Vec<_> = emoji
            .iter()
            .map(|e| {
                (
                    e.code.as_str(),
                    e.caption.as_str(),
                    e.concept.as_str(),
                    e.tone,
                    e.person,
                )
            })
            .collect();
        let tone = "waving hand: medium-light skin tone";
        assert_eq!(
            captions,
            [
                ("2764", "red heart", "red heart", None, false),
                ("1f44b", "waving hand", "waving hand", None, true),
                ("1f44b-1f3fc", tone, "waving hand", Some(1), true),
                ("1f46a", "family", "family", None, false),
            ]
        );
        assert_eq!(emoji[0].names[1][0], "heart");
        assert!(emoji[1].names[1].contains(&"hi-there".to_string()));
        assert!(emoji[2].names[1].contains(&"wave-medium-light-skin-tone".to_string()));
        assert_eq!(emoji[2].base, "1f44b");
    }
}
