//! Captions held out for the composition test: one skin tone of each emoji, and some roles.

use std::collections::{BTreeMap, BTreeSet};

use crate::labels::Emoji;
use crate::role::role;

/// One of this many roles is held out for one gender.
const ROLES_PER_HELD_OUT: usize = 5;

/// Novelty of a held-out caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A skin tone that training never shows for this emoji.
    Tone,
    /// A role that training never shows for this gender.
    Role,
}

impl Kind {
    /// Returns the name in the column `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tone => "tone",
            Self::Role => "role",
        }
    }
}

/// Returns the captions to hold out: one tone of each emoji with tones, and all captions of one
/// gender for one in five of the roles that both men and women have. Hashes of the emoji make the
/// choice, so it depends on nothing else.
pub fn held_out(emoji: &[Emoji]) -> BTreeMap<&str, Kind> {
    let mut roles: BTreeMap<String, BTreeMap<bool, &str>> = BTreeMap::new();
    for e in emoji.iter().filter(|e| e.person && e.tone.is_none()) {
        if let Some((role, woman)) = role(&e.caption) {
            roles.entry(role).or_default().insert(woman, &e.base);
        }
    }
    let mut roles: Vec<_> = roles
        .into_iter()
        .filter(|(_, genders)| genders.len() == 2)
        .collect();
    roles.sort_by_key(|(role, _)| hash(role));
    roles.truncate(roles.len() / ROLES_PER_HELD_OUT);
    let held_roles: BTreeSet<_> = roles
        .iter()
        .map(|(role, genders)| genders[&(hash(role) >> 32 & 1 == 0)])
        .collect();

    let held = emoji.iter().filter_map(|e| {
        if held_roles.contains(e.base.as_str()) {
            Some((e.caption.as_str(), Kind::Role))
        } else if e.tone == Some((hash(&e.base) % 5) as usize) {
            Some((e.caption.as_str(), Kind::Tone))
        } else {
            None
        }
    });
    held.collect()
}

/// Returns a variant of FNV-1a. Its values must never change, since they define the data set.
pub fn hash(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    // the low bits of FNV mix badly, and the choices use few bits
    hash ^ hash >> 29 ^ hash >> 47
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emoji(code: &str, caption: &str, concept: &str, tone: Option<usize>) -> Emoji {
        let base = code.split('-').next().unwrap().to_string();
        let (caption, concept) = (caption.to_string(), concept.to_string());
        Emoji {
            code: code.to_string(),
            base,
            caption,
            concept,
            tone,
            person: true,
            subgroup: 0,
            names: Default::default(),
        }
    }

    /// Ten roles of both genders, one of women only and two single words, each with five tones.
    fn people() -> Vec<Emoji> {
        let roles = [
            "cook", "pilot", "judge", "singer", "farmer", "artist", "teacher", "student",
            "mechanic", "guard",
        ];
        let mut captions: Vec<_> = roles
            .iter()
            .flat_map(|role| ["man", "woman"].map(|who| format!("{who} {role}")))
            .collect();
        captions.extend(["woman with headscarf", "man", "woman"].map(String::from));
        let mut people = Vec::new();
        for (i, caption) in captions.iter().enumerate() {
            people.push(emoji(&format!("{i}"), caption, caption, None));
            people.extend((0..5).map(|tone| {
                emoji(
                    &format!("{i}-{tone}"),
                    &format!("{caption}: tone {tone}"),
                    caption,
                    Some(tone),
                )
            }));
        }
        people
    }

    #[test]
    fn holds_out_a_fifth_of_the_roles_for_one_gender() {
        let people = people();
        let held = held_out(&people);
        let roles: Vec<_> = people
            .iter()
            .filter(|e| held.get(e.caption.as_str()) == Some(&Kind::Role))
            .collect();
        assert_eq!(roles.len(), 2 * 6);
        for e in roles {
            let (role, woman) = role(&e.concept).unwrap();
            let partner = format!(
                "{} {}",
                if woman { "man" } else { "woman" },
                role.trim_start_matches("_ ")
            );
            assert!(people.iter().any(|e| e.caption == partner), "{partner}");
            assert!(!held.contains_key(partner.as_str()), "{partner}");
        }
        assert!(
            !held.contains_key("woman with headscarf")
                && !held.contains_key("man")
                && !held.contains_key("woman")
        );
    }

    #[test]
    fn holds_out_one_varying_tone_of_all_others() {
        let people = people();
        let held = held_out(&people);
        let mut tones = BTreeSet::new();
        for base in people
            .iter()
            .filter(|e| e.tone.is_none() && !held.contains_key(e.caption.as_str()))
        {
            let lost: Vec<_> = people
                .iter()
                .filter(|e| e.concept == base.caption && held.contains_key(e.caption.as_str()))
                .collect();
            assert_eq!(lost.len(), 1, "{}", base.caption);
            assert_eq!(held[lost[0].caption.as_str()], Kind::Tone);
            tones.insert(lost[0].tone);
        }
        assert!(tones.len() > 2, "{tones:?}");
    }

    #[test]
    fn choice_does_not_depend_on_the_order() {
        let people = people();
        let reversed: Vec<_> = people.iter().rev().cloned().collect();
        assert_eq!(held_out(&people), held_out(&reversed));
    }

    #[test]
    fn roles_omit_the_gender() {
        assert_eq!(
            role("woman: red hair"),
            Some(("_: red hair".to_string(), true))
        );
        assert_eq!(
            role("men with bunny ears"),
            Some(("__ with bunny ears".to_string(), false))
        );
        for caption in [
            "man",
            "woman and man holding hands",
            "mermaid",
            "firefighter",
        ] {
            assert_eq!(role(caption), None);
        }
    }

    #[test]
    fn hash_matches_the_shipped_data() {
        assert_eq!(
            [hash(""), hash("1f44b")],
            [0xcbf2_9ce2_dbb7_53e4, 0x21a7_e8d4_62c5_3240]
        );
    }
}
