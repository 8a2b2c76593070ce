//! Texts that people write and an invoice shows: of one line or of several, and bounded.

use crate::LedgerError;

/// `text` without the blanks around it: not empty, one line, at most `bytes_max` bytes.
pub(crate) fn line<'a>(
    field: &'static str,
    text: &'a str,
    bytes_max: usize,
) -> Result<&'a str, LedgerError> {
    checked(field, text, bytes_max, "on one line", |_| false)
}

/// The same of several lines, which a line feed ends.
pub(crate) fn lines<'a>(
    field: &'static str,
    text: &'a str,
    bytes_max: usize,
) -> Result<&'a str, LedgerError> {
    checked(field, text, bytes_max, "in lines", |character| character == '\n')
}

fn checked<'a>(
    field: &'static str,
    text: &'a str,
    bytes_max: usize,
    form: &str,
    allowed: impl Fn(char) -> bool,
) -> Result<&'a str, LedgerError> {
    let text = text.trim();
    let refused = |character: char| character.is_control() && !allowed(character);
    if text.is_empty() || text.len() > bytes_max || text.chars().any(refused) {
        let accepted = format!("1 to {bytes_max} bytes of text {form}");
        return Err(LedgerError::invalid(field, text, accepted));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_bounded_and_of_the_lines_it_may_have() {
        assert_eq!(line("reason", " wrong month ", 1_000).unwrap(), "wrong month");
        assert_eq!(lines("notes", "a\nb\n", 3).unwrap(), "a\nb");
        for bad in ["", "  ", "two\nlines", "\u{1b}[2J", &"x".repeat(1_001)] {
            let error = line("reason", bad, 1_000).unwrap_err();
            assert!(matches!(error, LedgerError::Invalid { field: "reason", .. }), "{bad}");
        }
        assert!(lines("notes", "a\tb", 10).is_err());
    }
}
