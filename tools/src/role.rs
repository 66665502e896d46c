//! Roles of people regardless of gender: "man farmer", "woman farmer" and "farmer" are one concept.

use std::collections::{BTreeMap, BTreeSet};

use crate::labels::Emoji;

/// Replaces the word for a gender in a caption by a placeholder, and returns whether it was for
/// women. Returns `None` for `man` and `woman` alone, and for captions with no such word or
/// several.
pub fn role(caption: &str) -> Option<(String, bool)> {
    let mut woman = None;
    let mut count = 0;
    let words = caption.split_inclusive([' ', ':', ',']).map(|word| {
        let letters = word.trim_end_matches([' ', ':', ',']);
        let open = match letters {
            "man" | "woman" => "_",
            "men" | "women" => "__",
            _ => return word.to_string(),
        };
        woman = Some(letters.starts_with('w'));
        count += 1;
        word.replace(letters, open)
    });
    let role: String = words.collect();
    (count == 1 && role.chars().any(char::is_alphabetic)).then_some((role, woman?))
}

/// Gives all emoji of a role that both men and women have one concept: the caption without a gender
/// ("farmer", "person walking"), even if no emoji has that caption ("person dancing").
pub fn share_concepts(emoji: &mut [Emoji]) {
    let captions: BTreeSet<String> = emoji
        .iter()
        .filter(|e| e.tone.is_none())
        .map(|e| e.caption.clone())
        .collect();
    let mut genders: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for (role, woman) in emoji
        .iter()
        .filter(|e| e.person && e.tone.is_none())
        .filter_map(|e| role(&e.caption))
    {
        genders.entry(role).or_default().insert(woman);
    }
    for e in emoji.iter_mut().filter(|e| e.person) {
        // so far, the concept is the caption without skin tone
        let Some((role, _)) = role(&e.concept)
            .filter(|(role, _)| genders.get(role).is_some_and(|genders| genders.len() == 2))
        else {
            continue;
        };
        let person = role.replace("__", "people").replace('_', "person");
        let bare = role.replace("__ ", "").replace("_ ", "");
        e.concept = if captions.contains(&person) || !captions.contains(&bare) {
            person
        } else {
            bare
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emoji(caption: &str) -> Emoji {
        let text = caption.to_string();
        Emoji {
            code: text.clone(),
            base: text.clone(),
            caption: text.clone(),
            concept: text,
            tone: None,
            person: true,
            subgroup: 0,
            names: [vec![], vec![]],
        }
    }

    #[test]
    fn genders_of_a_role_share_one_concept() {
        let mut all = [
            "man farmer",
            "woman farmer",
            "farmer",
            "man walking",
            "woman walking",
            "person walking",
            "man dancing",
            "woman dancing",
            "men wrestling",
            "women wrestling",
            "people wrestling",
            "man: bald",
            "woman: bald",
            "person: bald",
            "woman with headscarf",
            "man",
            "woman",
            "woman and man holding hands",
        ]
        .map(emoji);
        share_concepts(&mut all);
        let concepts: Vec<&str> = all.iter().map(|e| e.concept.as_str()).collect();
        let want = [
            "farmer",
            "farmer",
            "farmer",
            "person walking",
            "person walking",
            "person walking",
            "person dancing",
            "person dancing",
            "people wrestling",
            "people wrestling",
            "people wrestling",
            "person: bald",
            "person: bald",
            "person: bald",
            "woman with headscarf",
            "man",
            "woman",
            "woman and man holding hands",
        ];
        assert_eq!(concepts, want);
    }
}
