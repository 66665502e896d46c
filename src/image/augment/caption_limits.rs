//! Limits that a caption puts on changes to its picture.

/// Words that name a colour or a tone: with other colours the caption would be wrong.
const COLOURS: &[&str] = &[
    "amber",
    "beige",
    "black",
    "blond",
    "blonde",
    "blue",
    "bronze",
    "brown",
    "color",
    "colored",
    "colors",
    "colour",
    "coloured",
    "colours",
    "cyan",
    "dark",
    "gold",
    "golden",
    "gray",
    "green",
    "grey",
    "indigo",
    "light",
    "lime",
    "magenta",
    "medal",
    "orange",
    "pink",
    "purple",
    "rainbow",
    "red",
    "silver",
    "skin",
    "teal",
    "tone",
    "turquoise",
    "violet",
    "white",
    "yellow",
];

/// Words whose drawing has another meaning in the mirror: directions, phases of the moon, the hands
/// of clocks, and writing. Captions with a digit or a word in capitals are treated likewise.
const SIDED: &[&str] = &[
    // directions
    "anticlockwise",
    "arrow",
    "arrows",
    "backhand",
    "clockwise",
    "counterclockwise",
    "direction",
    "east",
    "eastward",
    "globe",
    "left",
    "leftward",
    "leftwards",
    "map",
    "northeast",
    "northwest",
    "recycling",
    "right",
    "rightward",
    "rightwards",
    "southeast",
    "southwest",
    "west",
    "westward",
    // time
    "calendar",
    "clock",
    "crescent",
    "first",
    "last",
    "quarter",
    "second",
    "third",
    "waning",
    "waxing",
    // writing
    "alphabet",
    "alternation",
    "bank",
    "banknote",
    "button",
    "clef",
    "convenience",
    "copyright",
    "currency",
    "digit",
    "dollar",
    "english",
    "euro",
    "hundred",
    "identification",
    "information",
    "input",
    "japanese",
    "keycap",
    "latin",
    "letter",
    "letters",
    "mark",
    "musical",
    "number",
    "numbers",
    "numero",
    "om",
    "place",
    "pound",
    "question",
    "registered",
    "sign",
    "slot",
    "symbol",
    "symbols",
    "text",
    "word",
    "words",
    "yen",
    "zzz",
    // numbers
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirty",
    // the signs of the zodiac
    "aries",
    "taurus",
    "gemini",
    "cancer",
    "leo",
    "virgo",
    "libra",
    "scorpio",
    "sagittarius",
    "capricorn",
    "aquarius",
    "pisces",
    "ophiuchus",
];

fn words(caption: &str) -> impl Iterator<Item = &str> {
    caption
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

fn is_one_of(word: &str, table: &[&str]) -> bool {
    table.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Whether a caption names a colour or a tone.
pub fn names_colour(caption: &str) -> bool {
    words(caption).any(|word| is_one_of(word, COLOURS))
}

/// Whether a caption names a skin tone. Neighbouring tones are close to each other.
pub fn names_tone(caption: &str) -> bool {
    caption.to_lowercase().contains("skin tone")
}

/// Whether a caption also fits the mirror image of its picture.
pub fn may_flip(caption: &str) -> bool {
    // "A" starts many sentences
    let capitals = |word: &str| word != "A" && word.chars().all(char::is_uppercase);
    let written = |word: &str| word.chars().any(char::is_numeric) || capitals(word);
    !words(caption).any(|word| is_one_of(word, SIDED) || written(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_captions_with_a_colour_or_tone() {
        for caption in [
            "red heart",
            "person: blond hair",
            "waving hand: medium-dark skin tone",
            "Black cat",
            "woman: white-haired",
        ] {
            assert!(names_colour(caption), "{caption}");
        }
        // parts of words do not count
        for caption in ["incredible", "blackberry", "sunflower", "greenhouse", ""] {
            assert!(!names_colour(caption), "{caption}");
        }
    }

    #[test]
    fn recognizes_captions_that_forbid_flipping() {
        let sided = [
            "backhand index pointing right",
            "left-facing fist",
            "BACK arrow",
            "clockwise vertical arrows",
            "first quarter moon",
            "keycap: #",
            "Japanese “free of charge” button",
            "ABC",
            "O blood type",
            "1st place medal",
            "three o’clock",
            "input latin letters",
            "SOS",
            "Leo",
            "red question mark",
            "100 points",
        ];
        for caption in sided {
            assert!(!may_flip(caption), "{caption}");
        }
        for caption in [
            "red heart",
            "index pointing up",
            "grinning face",
            "Santa Claus",
            "automobile",
            "sheaf of rice",
            "downcast face",
            "A dog runs",
        ] {
            assert!(may_flip(caption), "{caption}");
        }
    }
}
