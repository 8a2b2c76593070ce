//! Ids of customers and projects: short names that read well in a URL, a file name and a label.

use crate::LedgerError;

/// Longest slug: what a DNS label and most tools accept.
const SLUG_CHARS_MAX: usize = 63;
const ACCEPTED: &str = "1 to 63 of a-z, 0-9, `-` and `_`, beginning with a letter or digit";

/// `text` when it is a slug.
pub(crate) fn checked<'a>(field: &'static str, text: &'a str) -> Result<&'a str, LedgerError> {
    let begins_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let reads_well = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if begins_well && reads_well && text.len() <= SLUG_CHARS_MAX {
        Ok(text)
    } else {
        Err(LedgerError::invalid(field, text, ACCEPTED))
    }
}

/// The slug of a name: lower case, one dash for everything that is no letter or digit.
pub(crate) fn derived(field: &'static str, name: &str) -> Result<String, LedgerError> {
    let mut slug = String::new();
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(SLUG_CHARS_MAX);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() {
        // Nothing of the name can stand in a URL; a made-up id would help nobody.
        return Err(LedgerError::invalid(field, "", ACCEPTED));
    }
    Ok(slug.to_owned())
}

/// Longest name of anything that people name.
const NAME_BYTES_MAX: usize = 256;

/// `name` when it is one: not blank, one line, at most 256 bytes.
pub(crate) fn checked_name(name: &str) -> Result<&str, LedgerError> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(LedgerError::invalid("name", name, "1 to 256 bytes of text on one line"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_comes_from_a_name() {
        assert_eq!(derived("id", "Acme (Shanghai) Ltd.").unwrap(), "acme-shanghai-ltd");
        assert_eq!(derived("id", "百度 Baidu").unwrap(), "baidu");
        assert!(derived("id", "百度").is_err());
        assert_eq!(derived("id", &"x".repeat(100)).unwrap().len(), 63);
    }

    #[test]
    fn a_slug_is_checked() {
        for good in ["a", "default", "team-1_b", "0x"] {
            assert!(checked("id", good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a b", "a/b", "é", "../x"] {
            assert!(checked("id", bad).is_err(), "{bad}");
        }
    }
}
