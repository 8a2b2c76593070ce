//! Scripts: how many tokens a text has depends on its script more than on anything else.

/// Scripts that vocabularies treat alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// Latin letters.
    Latin,
    /// Chinese, Japanese and Korean.
    Cjk,
    /// Arabic, Persian, Urdu.
    Arabic,
    /// Every other one, and pictures.
    Other,
}

/// How many there are.
pub(crate) const SCRIPTS: usize = 4;

impl Script {
    /// The script of `c`; `None` where it goes with its neighbours: digits, spaces, punctuation.
    fn of(c: char) -> Option<Self> {
        match c {
            'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => {
                Some(Self::Latin)
            }
            '\0'..='\u{bf}' | '\u{2000}'..='\u{206f}' => None,
            '\u{600}'..='\u{6ff}'
            | '\u{750}'..='\u{77f}'
            | '\u{8a0}'..='\u{8ff}'
            | '\u{fb50}'..='\u{fdff}'
            | '\u{fe70}'..='\u{feff}' => Some(Self::Arabic),
            '\u{1100}'..='\u{11ff}'
            | '\u{2e80}'..='\u{9fff}'
            | '\u{ac00}'..='\u{d7ff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe4f}'
            | '\u{ff00}'..='\u{ffef}'
            | '\u{20000}'..='\u{3ffff}' => Some(Self::Cjk),
            _ => Some(Self::Other),
        }
    }
}

/// The stretches of `text` that are of one script. Text without any script is Latin.
pub(crate) fn runs(mut text: &str) -> impl Iterator<Item = (Script, &str)> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let mut script = None;
        let end = text.char_indices().find_map(|(at, c)| {
            let next = Script::of(c)?;
            (*script.get_or_insert(next) != next).then_some(at)
        });
        let (run, rest) = text.split_at(end.unwrap_or(text.len()));
        text = rest;
        Some((script.unwrap_or(Script::Latin), run))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_its_script_changes_and_nowhere_else() {
        let text = "(1) 使用 API，好！ نعم. Да 👍 yes";

        let found: Vec<_> = runs(text).collect();

        assert_eq!(
            found,
            [
                (Script::Cjk, "(1) 使用 "),
                (Script::Latin, "API"),
                (Script::Cjk, "，好！ "),
                (Script::Arabic, "نعم. "),
                (Script::Other, "Да 👍 "),
                (Script::Latin, "yes"),
            ]
        );
        assert_eq!(runs("12 + 3").collect::<Vec<_>>(), [(Script::Latin, "12 + 3")]);
        assert_eq!(runs("").count(), 0);
    }
}
