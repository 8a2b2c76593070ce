//! Texts of others made safe to show, and numbers as people read them.

use rust_decimal::Decimal;

/// Whether a character changes what a reader sees beside it, or is none: controls, marks that turn
/// the direction of writing, separators of lines, and code points that are no characters.
///
/// Source: Unicode Standard Annex 9 (directional formatting characters); XML 1.0 section 2.2.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{fffe}'
                | '\u{ffff}'
        )
}

/// `text` on one line, with a replacement character where something would not be seen.
pub(crate) fn line(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect()
}

/// The lines of `text`, each made safe.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.lines().map(line).collect()
}

/// A cell of a table that a spreadsheet will open: what it would run as a formula is a text.
///
/// Source: OWASP, "CSV Injection".
pub(crate) fn cell(text: &str) -> String {
    let text = line(text);
    if text.starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']) {
        format!("'{text}")
    } else {
        text
    }
}

/// A decimal with its thousands set apart: `1234567.50` is `1,234,567.50`.
pub(crate) fn grouped(decimal: Decimal) -> String {
    let text = decimal.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut out = String::from(sign);
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && whole.len().saturating_sub(place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A share in thousandths as percent: 625 is `62.5 %`.
pub(crate) fn percent(permille: u64) -> String {
    format!("{}.{} %", permille.saturating_div(10), permille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_be_seen_is_replaced_and_a_formula_is_a_text() {
        assert_eq!(line("a\u{202e}b\u{7}c\nd\u{2028}"), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}");
        assert_eq!(cell("=1+1"), "'=1+1");
        assert_eq!(cell("@SUM(A1)"), "'@SUM(A1)");
        assert_eq!(cell("ERNIE-Bot"), "ERNIE-Bot");
        // The mark before it must not hide it.
        assert_eq!(cell("\t=1"), "\u{fffd}=1");
    }

    #[test]
    fn thousands_are_set_apart() {
        let shown = |text: &str| grouped(text.parse().unwrap());
        assert_eq!(shown("-1234567.50"), "-1,234,567.50");
        assert_eq!(shown("999"), "999");
        assert_eq!(shown("0.000012"), "0.000012");
    }
}
