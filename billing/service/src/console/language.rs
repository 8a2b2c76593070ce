//! Which language a page is in: the one that was chosen, else what the browser asks for.

use http::{HeaderMap, HeaderValue, header};
use permille_documents::Language;
use rust_decimal::Decimal;

use super::cookies::cookie;

/// Name of the cookie that holds the choice.
const COOKIE: &str = "permille_language";
/// How long a choice is kept: a year.
const CHOICE_SECONDS: u32 = 365 * 24 * 60 * 60;

/// The language of a page for these headers.
pub(super) fn language(headers: &HeaderMap) -> Language {
    chosen(headers).or_else(|| accepted(headers)).unwrap_or_default()
}

/// The cookie that keeps the choice `name`; `None` where there is no such language.
pub(super) fn choice(name: &str) -> Option<HeaderValue> {
    name.parse::<Language>().ok()?;
    let cookie = format!("{COOKIE}={name}; Path=/; Max-Age={CHOICE_SECONDS}; SameSite=Strict");
    HeaderValue::try_from(cookie).ok()
}

fn chosen(headers: &HeaderMap) -> Option<Language> {
    cookie(headers, COOKIE)?.parse().ok()
}

/// The language of `Accept-Language` that the browser wants most, of those that there are.
fn accepted(headers: &HeaderMap) -> Option<Language> {
    let text = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
    let mut best: Option<(Decimal, Language)> = None;
    for range in text.split(',') {
        let (tag, weight) = range.split_once(';').unwrap_or((range, "q=1"));
        let tag = tag.trim().split('-').next().unwrap_or_default().to_ascii_lowercase();
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse().ok());
        let (Ok(language), Some(weight)) = (tag.parse(), weight) else { continue };
        // Of two that are wanted as much the first counts.
        if weight > Decimal::ZERO && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_goes_before_what_the_browser_asks_for() {
        use Language::{Chinese, English};

        for (asked, cookie, expected) in [
            ("", "", English),
            ("zh-CN,zh;q=0.9,en;q=0.8", "", Chinese),
            ("fr-FR, en;q=0.2, zh-TW;q=0.7", "", Chinese),
            ("en-GB,zh;q=0.9", "", English),
            ("zh;q=0", "", English),
            ("de", "", English),
            ("*", "", English),
            ("en", "a=b; permille_language=zh", Chinese),
            ("zh", "permille_language=en", English),
            ("zh", "permille_language=fr", Chinese),
        ] {
            let headers = HeaderMap::from_iter([
                (header::ACCEPT_LANGUAGE, HeaderValue::from_static(asked)),
                (header::COOKIE, HeaderValue::from_static(cookie)),
            ]);
            assert_eq!(language(&headers), expected, "{asked:?} {cookie:?}");
        }
    }
}
