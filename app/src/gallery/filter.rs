//! Filter expressions: words, `"phrases"`, `NOT`, `OR`, parentheses, `missing`, `failed`,
//! `selected`, `tag:NAME`, `name:TEXT`, `length<N`, `words<N` and `confidence<N`.

use super::{Entry, Gallery, tags};

/// A filter over entries. The default one matches all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter(Option<Node>);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    /// Text in the caption or the name, in lower case.
    Text(String),
    /// Text in the name, in lower case.
    Name(String),
    Tag(String),
    Missing,
    Failed,
    Selected,
    Compare(Quantity, Relation, f64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Quantity {
    /// Number of characters.
    Length,
    /// Number of words.
    Words,
    /// Confidence of the model, which captions by hand do not have.
    Confidence,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Relation {
    Below,
    Above,
    Equal,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Open,
    Close,
    Not,
    Or,
    And,
    /// A word, and whether a part of it is quoted.
    Word(String, bool),
}

impl Filter {
    /// Parses an expression. Blank text matches everything.
    ///
    /// # Errors
    /// A message that names the fault of the expression.
    pub fn parse(text: &str) -> Result<Filter, String> {
        let mut tokens = tokens(text)?;
        if tokens.is_empty() {
            return Ok(Filter(None));
        }
        tokens.reverse();
        let node = any(&mut tokens)?;
        match tokens.last() {
            None => Ok(Filter(Some(node))),
            Some(_) => Err("There is a ) too many.".into()),
        }
    }

    /// Whether an entry matches.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.0.as_ref().is_none_or(|node| node.matches(entry))
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = vec![];
    let mut letters = text.chars().peekable();
    while let Some(&letter) = letters.peek() {
        match letter {
            letter if letter.is_whitespace() => drop(letters.next()),
            '(' => {
                letters.next();
                tokens.push(Token::Open);
            }
            ')' => {
                letters.next();
                tokens.push(Token::Close);
            }
            _ => tokens.push(word(&mut letters)?),
        }
    }
    Ok(tokens)
}

fn word(letters: &mut std::iter::Peekable<std::str::Chars>) -> Result<Token, String> {
    if letters.next_if_eq(&'-').is_some() {
        return Ok(Token::Not);
    }
    let (mut word, mut quoted) = (String::new(), false);
    while let Some(letter) = letters.next_if(|letter| !letter.is_whitespace() && *letter != ')') {
        if letter != '"' {
            word.push(letter);
            continue;
        }
        quoted = true;
        loop {
            match letters.next() {
                Some('"') => break,
                Some(letter) => word.push(letter),
                None => return Err("A quotation mark is missing at the end.".into()),
            }
        }
    }
    Ok(match (word.as_str(), quoted) {
        ("NOT", false) => Token::Not,
        ("OR", false) => Token::Or,
        ("AND", false) => Token::And,
        _ => Token::Word(word, quoted),
    })
}

/// Parses alternatives. The next token is the last one.
fn any(tokens: &mut Vec<Token>) -> Result<Node, String> {
    let mut nodes = vec![all(tokens)?];
    while tokens.pop_if(|token| *token == Token::Or).is_some() {
        nodes.push(all(tokens)?);
    }
    Ok(match nodes.len() {
        1 => nodes.remove(0),
        _ => Node::Any(nodes),
    })
}

fn all(tokens: &mut Vec<Token>) -> Result<Node, String> {
    let mut nodes = vec![];
    loop {
        match tokens.last() {
            Some(Token::And) if !nodes.is_empty() => drop(tokens.pop()),
            None | Some(Token::Or | Token::Close) if !nodes.is_empty() => break,
            _ => nodes.push(one(tokens)?),
        }
    }
    Ok(match nodes.len() {
        1 => nodes.remove(0),
        _ => Node::All(nodes),
    })
}

fn one(tokens: &mut Vec<Token>) -> Result<Node, String> {
    match tokens.pop() {
        Some(Token::Not) => Ok(Node::Not(Box::new(one(tokens)?))),
        Some(Token::Open) => {
            let node = any(tokens)?;
            match tokens.pop() {
                Some(Token::Close) => Ok(node),
                _ => Err("A ) is missing.".into()),
            }
        }
        Some(Token::Word(word, quoted)) => atom(&word, quoted),
        Some(Token::Or | Token::And) | None => {
            Err("A word is missing before or after OR, AND or NOT.".into())
        }
        Some(Token::Close) => Err("There is a ) too many.".into()),
    }
}

fn atom(word: &str, quoted: bool) -> Result<Node, String> {
    let lower = word.to_lowercase();
    if let Some((key, value)) = lower.split_once(':') {
        match key {
            "tag" => return Ok(Node::Tag(value.to_owned())),
            "name" => return Ok(Node::Name(value.to_owned())),
            _ => {}
        }
    }
    if quoted {
        return Ok(Node::Text(lower));
    }
    match lower.as_str() {
        "missing" => return Ok(Node::Missing),
        "failed" => return Ok(Node::Failed),
        "selected" => return Ok(Node::Selected),
        _ => {}
    }
    let relations = [
        ('<', Relation::Below),
        ('>', Relation::Above),
        ('=', Relation::Equal),
    ];
    for (sign, relation) in relations {
        let Some((name, number)) = lower.split_once(sign) else {
            continue;
        };
        let quantity = match name {
            "length" => Quantity::Length,
            "words" => Quantity::Words,
            "confidence" => Quantity::Confidence,
            _ => continue,
        };
        let example = match quantity {
            Quantity::Length => "length<20",
            Quantity::Words => "words<3",
            Quantity::Confidence => "confidence<0.5",
        };
        let number = number
            .parse()
            .map_err(|_| format!("{name} needs a number, as in {example}."))?;
        return Ok(Node::Compare(quantity, relation, number));
    }
    Ok(Node::Text(lower))
}

impl Node {
    fn matches(&self, entry: &Entry) -> bool {
        match self {
            Node::Not(node) => !node.matches(entry),
            Node::All(nodes) => nodes.iter().all(|node| node.matches(entry)),
            Node::Any(nodes) => nodes.iter().any(|node| node.matches(entry)),
            Node::Text(text) => {
                entry.caption.to_lowercase().contains(text)
                    || entry.name.to_lowercase().contains(text)
            }
            Node::Name(text) => entry.name.to_lowercase().contains(text),
            Node::Tag(tag) => tags::has(&entry.caption, tag),
            Node::Missing => !entry.has_caption(),
            Node::Failed => entry.error.is_some(),
            Node::Selected => entry.selected,
            Node::Compare(quantity, relation, number) => {
                let caption = entry.caption.trim();
                let value = match quantity {
                    Quantity::Length => Some(caption.chars().count() as f64),
                    Quantity::Words => Some(caption.split_whitespace().count() as f64),
                    Quantity::Confidence => entry.confidence().map(f64::from),
                };
                value.is_some_and(|value| match relation {
                    Relation::Below => value < *number,
                    Relation::Above => value > *number,
                    Relation::Equal => value == *number,
                })
            }
        }
    }
}

impl Gallery {
    /// Returns the entries that match a filter.
    pub fn matching(&self, filter: &Filter) -> Vec<usize> {
        (0..self.entries.len())
            .filter(|&entry| filter.matches(&self.entries[entry]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, caption: &str) -> Entry {
        Entry {
            name: name.into(),
            caption: caption.into(),
            ..Entry::default()
        }
    }

    #[test]
    fn expressions_select_entries() {
        let entries = [
            entry("a/1.png", "a Red House, brick"),
            entry("a/2.png", "a bird"),
            entry("b/3.png", ""),
            Entry {
                error: Some("broken".into()),
                selected: true,
                ..entry("b/4.png", "missing person")
            },
        ];
        let matching = |text: &str| -> Vec<usize> {
            let filter = Filter::parse(text).unwrap();
            (0..4)
                .filter(|&number| filter.matches(&entries[number]))
                .collect()
        };
        for (text, wanted) in [
            ("", &[0, 1, 2, 3][..]),
            (" red ", &[0]),
            ("red house", &[0]),
            ("\"red brick\"", &[]),
            ("NOT red", &[1, 2, 3]),
            ("-red -missing", &[1, 3]),
            ("red OR bird", &[0, 1]),
            ("a AND NOT (red OR missing)", &[1]),
            ("missing", &[2]),
            ("\"missing\"", &[3]),
            ("failed", &[3]),
            ("selected", &[3]),
            ("tag:brick", &[0]),
            ("tag:bird", &[]),
            ("tag:\"a red house\"", &[0]),
            ("name:b/", &[2, 3]),
            ("length<7 NOT missing", &[1]),
            ("words>2", &[0]),
            ("words=2", &[1, 3]),
            ("confidence<0.5", &[]),
        ] {
            assert_eq!(matching(text), wanted, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, wanted) in [
            ("length<", "length<20"),
            ("confidence<high", "confidence<0.5"),
            ("(red", ") is missing"),
            ("red)", ") too many"),
            ("red OR", "word is missing"),
            ("NOT", "word is missing"),
            ("\"red", "quotation mark"),
        ] {
            let message = Filter::parse(text).unwrap_err();
            assert!(message.contains(wanted), "{text}: {message}");
        }
    }
}
