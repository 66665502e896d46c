//! Everyday English for the things that emoji show.

/// Everyday names of things that Unicode names otherwise.
const EVERYDAY: [(&str, &str); 46] = [
    ("spouting whale", "whale"),
    ("lady beetle", "ladybug"),
    ("honeybee", "bee"),
    ("ewe", "sheep"),
    ("two-hump camel", "camel"),
    ("t-rex", "dinosaur"),
    ("sauropod", "dinosaur"),
    ("blowfish", "pufferfish"),
    ("spiral shell", "shell"),
    ("deciduous tree", "tree"),
    ("sheaf of rice", "rice plant"),
    ("tangerine", "orange"),
    ("ear of corn", "corn"),
    ("hot pepper", "chili pepper"),
    ("leafy green", "lettuce"),
    ("soft ice cream", "ice cream"),
    ("cheese wedge", "cheese"),
    ("poultry leg", "chicken leg"),
    ("cut of meat", "steak"),
    ("shallow pan of food", "pan of food"),
    ("hot beverage", "cup of coffee"),
    ("ring buoy", "life ring"),
    ("automobile", "car"),
    ("oncoming automobile", "car"),
    ("oncoming bus", "bus"),
    ("oncoming taxi", "taxi"),
    ("oncoming police car", "police car"),
    ("articulated lorry", "truck"),
    ("delivery truck", "truck"),
    ("fire engine", "fire truck"),
    ("racing car", "race car"),
    ("carpentry saw", "saw"),
    ("high-speed train", "train"),
    ("adhesive bandage", "bandage"),
    ("long drum", "drum"),
    ("straight ruler", "ruler"),
    ("triangular ruler", "ruler"),
    ("globe showing europe-africa", "planet earth"),
    ("globe showing americas", "planet earth"),
    ("globe showing asia-australia", "planet earth"),
    ("leaf fluttering in wind", "leaves"),
    ("man’s shoe", "shoe"),
    ("woman’s boot", "boot"),
    ("woman’s hat", "hat"),
    ("woman’s sandal", "sandal"),
    ("closed book", "book"),
];

/// Kinds by Unicode's subgroups, in the order of their numbers.
const KINDS: [(u8, &str); 22] = [
    (34, "animal"),
    (35, "bird"),
    (36, "amphibian"),
    (37, "reptile"),
    (38, "sea animal"),
    (39, "insect"),
    (40, "flower"),
    (41, "plant"),
    (42, "fruit"),
    (43, "vegetable"),
    (44, "dish"),
    (45, "dish"),
    (46, "dessert"),
    (47, "drink"),
    (51, "building"),
    (52, "building"),
    (54, "vehicle"),
    (55, "boat"),
    (56, "aircraft"),
    (65, "piece of clothing"),
    (68, "musical instrument"),
    (78, "tool"),
];

/// Kinds of things that are another kind than most of their subgroup; none for an empty text.
const OTHERS: [(&str, &str); 53] = [
    ("poodle", "dog"),
    ("lion", "big cat"),
    ("tiger", "big cat"),
    ("leopard", "big cat"),
    ("rooster", "chicken"),
    ("hatching chick", "chicken"),
    ("baby chick", "chicken"),
    ("front-facing baby chick", "chicken"),
    ("crab", "shellfish"),
    ("lobster", "shellfish"),
    ("shrimp", "shellfish"),
    ("oyster", "shellfish"),
    ("snail", "animal"),
    ("spider", "animal"),
    ("spider web", ""),
    ("scorpion", "animal"),
    ("worm", "animal"),
    ("microbe", ""),
    ("paw prints", ""),
    ("pig nose", ""),
    ("feather", ""),
    ("wing", ""),
    ("tropical fish", ""),
    ("pufferfish", "fish"),
    ("shark", "fish"),
    ("dragon", "fantasy animal"),
    ("unicorn", "fantasy animal"),
    ("phoenix", "fantasy animal"),
    ("peanuts", ""),
    ("jack-o-lantern", "pumpkin"),
    ("tokyo tower", ""),
    ("mushroom", "fungus"),
    ("brown mushroom", "fungus"),
    ("empty nest", ""),
    ("nest with eggs", ""),
    ("baby bottle", ""),
    ("teapot", ""),
    ("ice", ""),
    ("brick", ""),
    ("rock", ""),
    ("wood", ""),
    ("wedding", ""),
    ("building construction", ""),
    ("statue of liberty", "monument"),
    ("kaaba", ""),
    ("anchor", ""),
    ("life ring", ""),
    ("seat", ""),
    ("wheel", ""),
    ("stop sign", "sign"),
    ("dagger", "weapon"),
    ("crossed swords", "weapon"),
    ("bomb", "weapon"),
];

/// Words for things that are not counted.
const UNCOUNTED: [&str; 25] = [
    "rice",
    "bread",
    "cheese",
    "corn",
    "broccoli",
    "garlic",
    "lettuce",
    "bacon",
    "butter",
    "salt",
    "ice",
    "sushi",
    "oden",
    "falafel",
    "spaghetti",
    "popcorn",
    "food",
    "ice cream",
    "coral",
    "wood",
    "clothing",
    "dango",
    "yarn",
    "thread",
    "soap",
];

/// Returns the everyday name of what an emoji with this caption shows.
pub fn everyday(caption: &str) -> &str {
    let found = EVERYDAY.iter().find(|(name, _)| *name == caption);
    let name = found.map_or(caption, |(_, name)| name);
    name.strip_suffix(" face").unwrap_or(name)
}

/// Returns what kind of thing the subgroup of an emoji holds, unless its name says so itself.
pub fn kind(subgroup: u8, name: &str) -> Option<&'static str> {
    let other = OTHERS.iter().find(|(it, _)| *it == name);
    let usual = || KINDS.iter().find(|(number, _)| *number == subgroup);
    let kind = match other {
        Some((_, kind)) => kind,
        None => usual().map(|(_, kind)| kind)?,
    };
    (!kind.is_empty() && !name.contains(kind)).then_some(kind)
}

/// Returns a name with its article, if it takes one.
pub fn with_article(name: &str) -> String {
    let uncounted = UNCOUNTED
        .iter()
        .any(|it| name == *it || name.ends_with(&format!(" {it}")));
    if is_plural(name) || uncounted {
        return name.to_owned();
    }
    let vowel = name.starts_with(['a', 'e', 'i', 'o', 'u']);
    let sounds_otherwise = ["uni", "ewe", "euro", "one-"]
        .iter()
        .any(|it| name.starts_with(it));
    let article = if vowel && !sounds_otherwise {
        "an"
    } else {
        "a"
    };
    format!("{article} {name}")
}

/// Returns a number of things, such as "two apples".
pub fn counted(name: &str, count: usize) -> String {
    let number = match count {
        1 => return with_article(name),
        2 => "two",
        3 => "three",
        more => return format!("{more} {}", plural(name)),
    };
    format!("{number} {}", plural(name))
}

fn is_plural(name: &str) -> bool {
    let singular = ["ss", "us", "is", "bus", "compass", "glass", "gas", "canvas"];
    name.ends_with('s') && !singular.iter().any(|end| name.ends_with(end))
}

/// The plural of the noun that a name is about: the one in front of "of", "with" and "and".
fn plural(name: &str) -> String {
    let breaks = [" of ", " with ", " on ", " in "]
        .iter()
        .filter_map(|it| name.find(it));
    let end = breaks.min().unwrap_or(name.len());
    let (noun, rest) = name.split_at(end);
    let irregular = [
        ("mouse", "mice"),
        ("goose", "geese"),
        ("ox", "oxen"),
        ("fish", "fish"),
        ("sheep", "sheep"),
        ("deer", "deer"),
        ("bison", "bison"),
        ("moose", "moose"),
        ("leaf", "leaves"),
        ("wolf", "wolves"),
        ("knife", "knives"),
        ("shrimp", "shrimp"),
        ("squid", "squid"),
        ("aircraft", "aircraft"),
    ];
    let found = irregular
        .iter()
        .find(|(one, _)| noun == *one || noun.ends_with(&format!(" {one}")));
    let many = match found {
        Some((one, many)) => format!("{}{many}", noun.strip_suffix(one).unwrap_or_default()),
        None if is_plural(noun) => noun.to_owned(),
        None if ["s", "x", "ch", "sh"].iter().any(|end| noun.ends_with(end)) => format!("{noun}es"),
        None if noun.ends_with('y')
            && !["ay", "ey", "oy"].iter().any(|end| noun.ends_with(end)) =>
        {
            format!("{}ies", &noun[..noun.len() - 1])
        }
        None if ["tomato", "potato", "mango"]
            .iter()
            .any(|it| noun.ends_with(it)) =>
        {
            format!("{noun}es")
        }
        None => format!("{noun}s"),
    };
    format!("{many}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_in_words() {
        let cases = [
            ("cat", 1, "a cat"),
            ("axe", 1, "an axe"),
            ("unicorn", 1, "a unicorn"),
            ("scissors", 1, "scissors"),
            ("bus", 1, "a bus"),
            ("garlic", 1, "garlic"),
            ("cat", 2, "two cats"),
            ("bus", 3, "three buses"),
            ("cup of coffee", 2, "two cups of coffee"),
            ("tropical fish", 3, "three tropical fish"),
            ("mouse", 2, "two mice"),
            ("cherry", 4, "4 cherries"),
            ("monkey", 2, "two monkeys"),
        ];
        for (name, count, words) in cases {
            assert_eq!(counted(name, count), words);
        }
    }

    #[test]
    fn kinds_are_not_said_twice() {
        assert_eq!(kind(35, "owl"), Some("bird"));
        assert_eq!(kind(35, "black bird"), None);
        assert_eq!(kind(35, "feather"), None);
        assert_eq!(kind(38, "shark"), Some("fish"));
        assert_eq!(kind(63, "kite"), None);
    }

    #[test]
    fn names_are_everyday_words() {
        assert_eq!(everyday("automobile"), "car");
        assert_eq!(everyday("mouse face"), "mouse");
        assert_eq!(everyday("hammer"), "hammer");
    }
}
