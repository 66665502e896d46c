//! A caption as the words that metrics compare.

/// What the Penn Treebank tokenizer makes words of their own.
const ALONE: &str = "()[]{}%$#*";

/// The words of a caption, nearly as the COCO evaluation makes them with Stanford's PTBTokenizer: in lower case, split at white
/// space, quotes and the marks `. , : ; ? ! … – — --` dropped (not inside `3:30`, `1,000`, `p.m.`), brackets, `%`, `$`, `#` and `*`
/// as words of their own (`-lrb-` for a bracket), `'s`, `'re`, `'ve`, `'ll`, `'d`, `'m` and `n't` split off. Its lists of
/// abbreviations and of contractions such as `gonna` are left out.
pub fn words(text: &str) -> Vec<String> {
    let mut words = vec![];
    for chunk in text.to_lowercase().split_whitespace() {
        let chars: Vec<char> = chunk.chars().collect();
        let mut word = String::new();
        for (at, &character) in chars.iter().enumerate() {
            let beside = |offset: isize| {
                at.checked_add_signed(offset)
                    .and_then(|at| chars.get(at))
                    .copied()
            };
            let digits = [beside(-1), beside(1)]
                .iter()
                .all(|side| side.is_some_and(|side| side.is_ascii_digit()));
            let doubled = [beside(-1), beside(1)].contains(&Some(character));
            match character {
                ',' | ':' if digits => word.push(character),
                '-' | '.' if !doubled => word.push(character),
                '"' | '“' | '”' | '`' | ';' | '?' | '!' | '…' | '–' | '—' | ',' | ':' | '-'
                | '.' => close(&mut word, &mut words),
                _ if ALONE.contains(character) => {
                    close(&mut word, &mut words);
                    words.push(bracket(character));
                }
                _ => word.push(character),
            }
        }
        close(&mut word, &mut words);
    }
    words
}

/// Ends a word: takes off quotes and points, splits off what is short for another word.
fn close(word: &mut String, words: &mut Vec<String>) {
    let taken = std::mem::take(word).replace('’', "'");
    let mut rest = taken.trim_matches(|character| matches!(character, '\'' | '‘'));
    // the point of `p.m.` belongs to it, that of a sentence's last word does not
    if let Some(without) = rest.strip_suffix('.')
        && !without.contains('.')
    {
        rest = without;
    }
    rest = if rest == "-" { "" } else { rest };
    let short = ["n't", "'s", "'re", "'ve", "'ll", "'d", "'m"]
        .into_iter()
        .find(|short| rest.len() > short.len() && rest.ends_with(short));
    let (stem, short) = rest.split_at(rest.len() - short.map_or(0, str::len));
    words.extend(
        [stem, short]
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(str::to_owned),
    );
}

fn bracket(character: char) -> String {
    match character {
        '(' => "-lrb-".into(),
        ')' => "-rrb-".into(),
        '[' => "-lsb-".into(),
        ']' => "-rsb-".into(),
        '{' => "-lcb-".into(),
        '}' => "-rcb-".into(),
        other => other.into(),
    }
}
