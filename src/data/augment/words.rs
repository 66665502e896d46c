//! What a caption says about the changes that its picture bears.

/// Words of captions that name a colour or a tone, in lower case: with other colours the caption would be wrong.
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

/// Words of captions, in lower case, whose drawing is another one in the mirror: sides and turns, the moon's phases, the hands of clocks,
/// and all that is drawn as writing. A caption with a digit or a word in capitals is treated likewise.
const SIDED: &[&str] = &[
    // sides and turns
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

/// Whether a caption names a skin tone, whose neighbours are close to each other.
pub fn names_tone(caption: &str) -> bool {
    caption.to_lowercase().contains("skin tone")
}

/// Whether a caption fits the picture's mirror image as well.
pub fn may_flip(caption: &str) -> bool {
    // "A" begins many a sentence
    let capitals = |word: &str| word != "A" && word.chars().all(char::is_uppercase);
    let written = |word: &str| word.chars().any(char::is_numeric) || capitals(word);
    !words(caption).any(|word| is_one_of(word, SIDED) || written(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_with_a_colour_or_tone_are_known() {
        for caption in [
            "red heart",
            "person: blond hair",
            "waving hand: medium-dark skin tone",
            "Black cat",
            "woman: white-haired",
        ] {
            assert!(names_colour(caption), "{caption}");
        }
        // parts of words count for nothing
        for caption in ["incredible", "blackberry", "sunflower", "greenhouse", ""] {
            assert!(!names_colour(caption), "{caption}");
        }
    }

    #[test]
    fn captions_that_a_mirror_makes_wrong_are_known() {
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
