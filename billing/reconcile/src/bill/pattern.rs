//! Patterns of a mapping: `*` is anything, `{model}` and `{class}` are what a line names.

/// What a pattern found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Found<'t> {
    pub(super) model: Option<&'t str>,
    pub(super) class: Option<&'t str>,
}

/// What `text` names by `pattern`, which must hold from its beginning to its end, whatever the case
/// of ASCII letters. Each part takes as little as it can.
pub(super) fn find<'t>(pattern: &str, text: &'t str) -> Option<Found<'t>> {
    let (literal, rest) = match pattern.find(['*', '{']) {
        None => return text.eq_ignore_ascii_case(pattern).then(Found::default),
        Some(place) => pattern.split_at(place),
    };
    let head = text.get(..literal.len())?;
    if !head.eq_ignore_ascii_case(literal) {
        return None;
    }
    let text = text.get(literal.len()..)?;
    let (name, rest) = if let Some(rest) = rest.strip_prefix('*') {
        ("", rest)
    } else if let Some(rest) = rest.strip_prefix("{model}") {
        ("model", rest)
    } else {
        ("class", rest.strip_prefix("{class}")?)
    };
    let ends = text.char_indices().map(|(place, _)| place).chain([text.len()]);
    for end in ends.filter(|end| name.is_empty() || *end > 0) {
        let (taken, left) = text.split_at(end);
        if let Some(found) = find(rest, left) {
            return Some(match name {
                "model" => Found { model: Some(taken), ..found },
                "class" => Found { class: Some(taken), ..found },
                _ => found,
            });
        }
    }
    None
}

/// Whether a pattern has nothing in braces that is not known.
pub(super) fn is_valid(pattern: &str) -> bool {
    let left = pattern.replacen("{model}", "", 1).replacen("{class}", "", 1);
    !left.contains(['{', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_finds_the_model_and_the_class() {
        for (pattern, text, model, class) in [
            ("{model}, cached input", "gpt-4o-2024-08-06, cached input", "gpt-4o-2024-08-06", ""),
            ("{model}, input", "gpt-4o, input", "gpt-4o", ""),
            ("*-{model}-input-tokens*", "USE1-Claude3Sonnet-input-tokens", "Claude3Sonnet", ""),
            ("{model}/{class}", "gpt-4o/cache_read", "gpt-4o", "cache_read"),
            ("Input *", "input tokens", "", ""),
        ] {
            let found = find(pattern, text).unwrap_or_else(|| panic!("{pattern}: {text}"));
            assert_eq!(found.model.unwrap_or_default(), model, "{pattern}");
            assert_eq!(found.class.unwrap_or_default(), class, "{pattern}");
        }
        assert_eq!(find("{model}, input", "gpt-4o, cached output"), None);
        assert_eq!(find("{model}, input", ", input"), None);
        assert_eq!(find("输入", "输入"), Some(Found::default()));
        assert_eq!(find("ab", "输"), None);
        assert!(is_valid("*-{model}") && !is_valid("{name}") && !is_valid("{model}{model}"));
    }
}
