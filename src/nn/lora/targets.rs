//! Choice of layers by name, with the rules of PEFT.

use std::collections::BTreeMap;

use fancy_regex::Regex;

/// Layers by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Layers whose whole name matches a regular expression.
    Pattern(String),
    /// Layers of these names, or whose names end with a dot and one of them.
    Names(Vec<String>),
    /// All linear layers but the output layer.
    AllLinear,
}

impl Targets {
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Targets::Pattern(pattern) => compiled(pattern).map(drop),
            Targets::Names(names) if names.is_empty() => Err("it lists no layers".into()),
            Targets::Names(_) | Targets::AllLinear => Ok(()),
        }
    }

    /// Whether a layer is among them.
    pub fn matches(&self, module: &str, is_head: bool) -> bool {
        match self {
            Targets::Pattern(pattern) => whole(pattern, module),
            Targets::Names(names) => names.iter().any(|name| is_or_ends(module, name)),
            Targets::AllLinear => !is_head,
        }
    }
}

/// Whether a name is another one, or ends with it behind a dot.
fn is_or_ends(module: &str, name: &str) -> bool {
    let front = module.strip_suffix(name);
    front.is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

/// Returns a regular expression that matches whole texts.
///
/// # Errors
/// Describes what is wrong with it.
pub(super) fn compiled(pattern: &str) -> Result<Regex, String> {
    Regex::new(&format!(r"\A(?:{pattern})\z"))
        .map_err(|error| format!("{pattern:?} is not a regular expression: {error}"))
}

/// Whether a regular expression matches a whole text. One that gives up does not.
fn whole(pattern: &str, text: &str) -> bool {
    compiled(pattern).is_ok_and(|regex| regex.is_match(text).unwrap_or(false))
}

/// Returns the value of the first pattern that matches the end of a layer's name from a dot on.
pub(super) fn by_pattern<T: Copy>(values: &BTreeMap<String, T>, module: &str) -> Option<T> {
    let found = values
        .iter()
        .find(|(pattern, _)| whole(&format!(r"(.*\.)?({pattern})"), module));
    found.map(|(_, value)| *value)
}

/// Returns the number of the block that a layer is in: the last number of its name behind a name of
/// a list of blocks, of which `lists` are patterns; any name if there are none.
pub(super) fn block(module: &str, lists: &[String]) -> Option<usize> {
    let any = [r"[^.]*".to_owned()];
    let lists = if lists.is_empty() { &any[..] } else { lists };
    lists.iter().find_map(|list| {
        let regex = Regex::new(&format!(r"\A.*\.{list}\.(\d+)\.")).ok()?;
        let found = regex.captures(module).ok()??;
        found.get(1)?.as_str().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::super::LoraConfig;
    use super::*;

    const Q: &str = "model.layers.1.self_attn.q_proj";

    fn names(names: &[&str]) -> Targets {
        Targets::Names(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn names_match_from_a_dot_on_and_patterns_as_a_whole() {
        assert!(names(&["q_proj"]).matches(Q, false));
        assert!(names(&["self_attn.q_proj"]).matches(Q, false));
        assert!(!names(&["proj", "attn.q_proj", "q"]).matches(Q, false));
        assert!(names(&["lm_head"]).matches("lm_head", true));
        let pattern = |text: &str| Targets::Pattern(text.into()).matches(Q, false);
        assert!(pattern(r".*\.(q|v)_proj") && pattern(r"(?!vision).*q_proj"));
        assert!(!pattern("q_proj") && !pattern(r"model\.layers") && !pattern(r"(?!model).*"));
        assert!(pattern(r"x|.*q_proj") && !pattern(r"model|y"));
        assert!(
            Targets::AllLinear.matches(Q, false) && !Targets::AllLinear.matches("lm_head", true)
        );
    }

    #[test]
    fn blocks_and_patterns_narrow_the_choice() {
        let mut config = LoraConfig::new(names(&["q_proj"]));
        config.layers = vec![1, 3];
        assert!(config.takes(Q, false));
        assert!(!config.takes("model.layers.2.self_attn.q_proj", false));
        config.layers_pattern = vec!["blocks".into()];
        assert!(!config.takes(Q, false));
        config.layers_pattern = vec!["layers".into()];
        assert!(config.takes(Q, false));
        config.excluded = Some(Targets::Pattern(r".*\.1\..*".into()));
        assert!(!config.takes(Q, false));

        config
            .rank_pattern
            .insert(r"layers\.1\.self_attn\.q_proj".into(), 2);
        config.alpha_pattern.insert("self_attn.q_proj".into(), 3.0);
        assert_eq!((config.rank_of(Q), config.scale_of(Q)), (2, 1.5));
        assert_eq!(config.rank_of("model.layers.11.self_attn.q_proj"), 8);
        config.rslora = true;
        config.alpha_pattern.clear();
        assert_eq!(config.scale_of(Q), 16.0 / 2f64.sqrt());
    }

    #[test]
    fn values_that_cannot_be_used_are_described() {
        let with = |change: &dyn Fn(&mut LoraConfig)| {
            let mut config = LoraConfig::new(Targets::AllLinear);
            change(&mut config);
            config.check().unwrap_err()
        };
        assert!(LoraConfig::new(Targets::AllLinear).check().is_ok());
        assert!(
            with(&|it| it.targets = Targets::Pattern("(".into())).contains("regular expression")
        );
        assert!(with(&|it| it.targets = names(&[])).contains("no layers"));
        assert!(with(&|it| it.rank = 0).contains("rank 0"));
        assert!(with(&|it| it.dropout = 1.0).contains("dropout"));
        assert!(with(&|it| it.alpha = f64::NAN).contains("alpha"));
    }
}
