//! Icon packages in Iconify's JSON format, and the names they give an emoji.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The `npm install` line that fetches every package this tool reads.
pub const INSTALL: &str = "npm install @iconify-json/noto@1 @iconify-json/twemoji@1 @iconify-json/fluent-emoji-flat@1 \
     @iconify-json/emojione@1 @iconify-json/fxemoji@1 emojibase-data@17";

/// Reads and parses a JSON file; errors name the file and say how to get it.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read {}; fetch the packages with\n  {INSTALL}\nand give their folder as --packages", path.display())
    })?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not what this tool expects; fetch the packages again with\n  {INSTALL}", path.display()))
}

#[derive(Deserialize)]
struct Icon {
    body: String,
    width: Option<f32>,
    height: Option<f32>,
    left: Option<f32>,
    top: Option<f32>,
}

/// Another name for an icon. Whatever else it holds (a flip, a rotation) makes it a different drawing.
#[derive(Deserialize)]
struct Alias {
    parent: String,
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

/// One artist's icons: `icons.json` and, where it says anything, `chars.json`.
pub struct IconSet {
    path: PathBuf,
    file: IconsFile,
    /// Icon name by code points, as `1f34c`.
    chars: BTreeMap<String, String>,
}

impl IconSet {
    /// Reads the package in `folder`. A missing `chars.json` is no error: names are then found by label.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("icons.json");
        let file = read_json(&path)?;
        let chars = folder.join("chars.json");
        let chars = if chars.exists() { read_json(&chars)? } else { BTreeMap::new() };
        Ok(Self { path, file, chars })
    }

    /// The whole SVG of an emoji, found by its code points, else by its label as a slug, else by one of `other_names`.
    pub fn svg(&self, hexcode: &str, label: &str, other_names: &[&str]) -> Result<String> {
        let hexcode = hexcode.to_lowercase();
        let slug = slug(label);
        let names = [hexcode.clone(), format!("{hexcode}-fe0f")]
            .iter()
            .filter_map(|code| self.chars.get(code).cloned())
            .chain([slug.clone()])
            .chain(other_names.iter().map(|name| name.to_string()))
            .collect::<Vec<_>>();
        for name in &names {
            if let Some(icon) = self.icon(name)? {
                let width = icon.width.or(self.file.width).unwrap_or(16.0);
                let height = icon.height.or(self.file.height).unwrap_or(16.0);
                let (left, top) = (icon.left.unwrap_or(0.0), icon.top.unwrap_or(0.0));
                return Ok(format!(
                    r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">{}</svg>"#,
                    icon.body
                ));
            }
        }
        bail!(
            "{} has no icon for \"{label}\" ({hexcode}); looked for {}. Another version of the package may name it \
             otherwise: install the one data/README.md lists, or add the name to CONCEPTS in tools/src/inputs.rs",
            self.path.display(),
            names.join(", ")
        )
    }

    fn icon(&self, name: &str) -> Result<Option<&Icon>> {
        let mut name = name;
        // aliases may point to aliases; a chain as long as the table is a circle
        for _ in 0..=self.file.aliases.len() {
            if let Some(icon) = self.file.icons.get(name) {
                return Ok(Some(icon));
            }
            let Some(alias) = self.file.aliases.get(name) else {
                return Ok(None);
            };
            if let Some(change) = alias.changes.keys().next() {
                bail!("{}: alias {name} changes its drawing ({change}), which this tool does not do", self.path.display());
            }
            name = &alias.parent;
        }
        bail!("{}: alias {name} leads back to itself", self.path.display())
    }
}

/// A label in the form icon names have: lower case, words joined by `-`.
fn slug(label: &str) -> String {
    label.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-").to_lowercase()
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
                    "flipped": {"parent": "plum", "hFlip": true}, "loop": {"parent": "loop"}}}"#;

    #[test]
    fn found_by_code_point_then_label_then_other_names() {
        let (_folder, set) = set(ICONS, Some(r#"{"1f001-fe0f": "wide"}"#));
        let set = set.unwrap();
        let svg = set.svg("1F001", "Blue fruit", &[]).unwrap();
        assert!(svg.contains(r#"viewBox="0 0 12 8""#) && svg.contains("<b/>"));
        assert!(set.svg("1F002", "Blue Fruit", &[]).unwrap().contains("<a/>"));
        assert!(set.svg("1F002", "nothing", &["none", "chain"]).unwrap().contains("<a/>"));
    }

    #[test]
    fn errors_name_the_file_and_the_icon() {
        let (_folder, set) = set(ICONS, None);
        let set = set.unwrap();
        for (label, other, expected) in [("pear", "birne", "no icon for \"pear\""), ("flipped", "", "hFlip"), ("loop", "", "leads back")] {
            let message = set.svg("1F002", label, &[other]).unwrap_err().to_string();
            assert!(message.contains("icons.json") && message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_missing_or_broken_package_says_what_to_install() {
        let folder = tempfile::tempdir().unwrap();
        let message = IconSet::open(folder.path()).err().unwrap().to_string();
        assert!(message.contains("icons.json") && message.contains("npm install"), "{message}");
        let (_folder, broken) = set("{", None);
        let message = broken.err().unwrap().to_string();
        assert!(message.contains("icons.json") && message.contains("npm install"), "{message}");
    }

    #[test]
    fn slugs() {
        assert_eq!(slug("Christmas tree"), "christmas-tree");
        assert_eq!(slug("jack-o’-lantern"), "jack-o-lantern");
    }
}
