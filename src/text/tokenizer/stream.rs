//! Decoding of a text token by token.

use super::Tokenizer;

/// Decodes a text token by token.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Ids whose text the next tokens continue.
    ids: Vec<u32>,
    /// Number of bytes of the ids' text that were returned.
    returned: usize,
}

/// Number of ids that stay as context when their text was returned. Some decoders treat the first
/// token of a text in another way, and special tokens have no text.
const CONTEXT: usize = 8;

/// Largest number of replacement characters that stand for a character which is not complete: the
/// bytes of one in UTF-8, less its last.
const OPEN: usize = 3;

impl<'a> TextStream<'a> {
    /// Creates a stream that continues a prompt, whose own text is not returned.
    pub fn new(tokenizer: &'a Tokenizer, prompt: &[u32]) -> TextStream<'a> {
        let ids = match tokenizer {
            Tokenizer::Pretrained(_) => &prompt[prompt.len().saturating_sub(CONTEXT)..],
            _ => prompt,
        };
        let text = tokenizer.decode(ids);
        let returned = match tokenizer {
            Tokenizer::Pretrained(_) => complete(&text).len(),
            _ => text.len(),
        };
        TextStream {
            tokenizer,
            ids: ids.to_vec(),
            returned,
        }
    }

    /// Appends a token and returns the text that it adds. A token that ends within a character adds
    /// nothing; the token that completes the character adds it.
    pub fn push(&mut self, id: u32) -> String {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids);
        // of complete text, only unknown tokens decode to the replacement character
        let known =
            Some(id) != self.tokenizer.unknown() && (id as usize) < self.tokenizer.vocab_size();
        let shown = match self.tokenizer {
            Tokenizer::Pieces(_) if known && text.ends_with(char::REPLACEMENT_CHARACTER) => "",
            Tokenizer::Pretrained(_) if known => complete(&text),
            _ => &text,
        };
        let new = shown.get(self.returned..).unwrap_or_default().to_owned();
        self.returned += new.len();
        if matches!(self.tokenizer, Tokenizer::Pretrained(_)) && self.returned == text.len() {
            self.forget();
        }
        new
    }

    /// Returns the text of a character that is not complete, as replacement characters. The text is
    /// at its end.
    pub fn finish(self) -> String {
        let text = self.tokenizer.decode(&self.ids);
        text.get(self.returned..).unwrap_or_default().to_owned()
    }

    /// Drops ids that are no longer needed, so that a long text takes no longer for each token.
    fn forget(&mut self) {
        if self.ids.len() > 2 * CONTEXT {
            self.ids.drain(..self.ids.len() - CONTEXT);
            self.returned = self.tokenizer.decode(&self.ids).len();
        }
    }
}

/// Returns the part of a text that more bytes cannot change.
fn complete(text: &str) -> &str {
    let mut complete = text;
    for _ in 0..OPEN {
        complete = complete
            .strip_suffix(char::REPLACEMENT_CHARACTER)
            .unwrap_or(complete);
    }
    complete
}

#[cfg(test)]
mod tests {
    use super::super::SpecialIds;
    use super::*;

    /// One token for each byte, and one that is silent.
    fn bytes() -> Tokenizer {
        // the printable form of bytes in byte-level BPE
        let mut tokens: Vec<String> = (b'!'..=b'~')
            .chain(0xa1..=0xac)
            .chain(0xae..=0xff)
            .map(|byte| char::from(byte).to_string())
            .collect();
        let rest =
            (0..256 - tokens.len() as u32).map(|i| char::from_u32(256 + i).unwrap().to_string());
        tokens.extend(rest);
        tokens.push("<end>".into());
        let types: Vec<i32> = [1; 256].into_iter().chain([3]).collect();
        Tokenizer::from_bpe(&tokens, &[], &types, "gpt-2", SpecialIds::default()).unwrap()
    }

    fn pushed(tokenizer: &Tokenizer, prompt: &[u32], ids: &[u32]) -> (Vec<String>, String) {
        let mut stream = TextStream::new(tokenizer, prompt);
        let pieces = ids.iter().map(|&id| stream.push(id)).collect();
        (pieces, stream.finish())
    }

    #[test]
    fn characters_of_several_tokens_come_whole() {
        let tokenizer = bytes();
        let text = "aé日🐕b";
        let ids = tokenizer.encode(text);
        let want = ["a", "", "é", "", "", "日", "", "", "", "🐕", "b"];
        assert_eq!(
            pushed(&tokenizer, &[], &ids),
            (want.map(String::from).to_vec(), String::new())
        );
        // a prompt that ends within a character
        let (pieces, rest) = pushed(&tokenizer, &ids[..7], &ids[7..]);
        assert_eq!((pieces.concat(), rest.as_str()), ("🐕b".into(), ""));
    }

    #[test]
    fn streamed_text_is_the_decoded_text() {
        let tokenizer = bytes();
        let end = 256;
        // pseudorandom bytes, most of which are no text, with silent tokens between them
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 29 == 0 { end } else { state >> 24 }
        };
        let noise: Vec<u32> = (0..3000).map(|_| noise()).collect();
        for ids in [
            noise,
            tokenizer.encode(&"naïve 🐕‍🦺 ".repeat(40)),
            tokenizer.encode("日")[..2].to_vec(),
        ] {
            let (pieces, rest) = pushed(&tokenizer, &[], &ids);
            assert_eq!(pieces.concat() + &rest, tokenizer.decode(&ids));
        }
    }

    #[test]
    fn ids_without_a_token_do_not_hold_text_back() {
        let tokenizer = bytes();
        let a = tokenizer.encode("a")[0];
        let (pieces, rest) = pushed(&tokenizer, &[], &[a, 9999, a]);
        assert_eq!(
            (pieces, rest.as_str()),
            (vec!["a".into(), "\u{fffd}".into(), "a".into()], "")
        );
    }
}
