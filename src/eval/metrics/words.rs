//! Tokenization of captions for metrics.

/// Characters that are always separate words in the Penn Treebank tokenization.
const ALONE: &str = "()[]{}%$#*";

/// Splits a caption into words, nearly as Stanford's PTBTokenizer in the COCO evaluation.
///
/// - Words are in lower case and split at white space.
/// - Quotes and the marks `. , : ; ? ! … – — --` are dropped, except inside `3:30`, `1,000` and
///   `p.m.`.
/// - Brackets (`-lrb-` and so on), `%`, `$`, `#` and `*` are separate words.
/// - `'s`, `'re`, `'ve`, `'ll`, `'d`, `'m` and `n't` are split off.
///
/// PTBTokenizer's lists of abbreviations and of contractions such as `gonna` are not included.
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

/// Ends a word: strips quotes and full stops, and splits off contractions.
fn close(word: &mut String, words: &mut Vec<String>) {
    let taken = std::mem::take(word).replace('’', "'");
    let mut rest = taken.trim_matches(|character| matches!(character, '\'' | '‘'));
    // the full stop belongs to `p.m.`, but not to the last word of a sentence
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

/// Returns the Penn Treebank name of a bracket, or the character itself.
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
