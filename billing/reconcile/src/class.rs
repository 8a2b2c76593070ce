//! What a line of a bill can count, in our words, and which of our classes it stands for.
//!
//! A bill may be coarser than our rows: `output` is text and reasoning together. Classes of ours
//! are disjoint, so each of them is compared under the narrowest class of the bill that holds it.

use permille_types::TokenClass;

/// Units as they are named in rows.
const UNITS: [&str; 5] = ["requests", "seconds", "images", "searches", "characters"];
/// Wider classes, narrowest first.
const WIDER: [&str; 5] = ["cache_read", "cache_write", "output", "input", "tokens"];
/// What begins the name of a class that is no usage.
pub(crate) const OTHER: &str = "other: ";

/// Whether a class has that name.
pub(crate) fn is_known(name: &str) -> bool {
    WIDER.contains(&name)
        || UNITS.contains(&name)
        || TokenClass::KNOWN.iter().any(|class| class.as_str() == name)
}

/// Whether a class of a bill is no usage that we count.
pub(crate) fn is_other(name: &str) -> bool {
    name.starts_with(OTHER)
}

/// Whether a class counts input tokens.
pub(crate) fn is_input(name: &str) -> bool {
    name == "input"
        || name.starts_with("input_")
        || name.starts_with("cache_")
        || name.ends_with("_in")
}

/// Whether the class `wide` of a bill holds our class `own`.
pub(crate) fn holds(wide: &str, own: &str) -> bool {
    let is_tokens = !UNITS.contains(&own);
    wide == own
        || match wide {
            "cache_read" => own.starts_with("cache_read"),
            "cache_write" => own.starts_with("cache_write"),
            "input" => is_tokens && is_input(own),
            "output" => own == "output_text" || own == "reasoning",
            "tokens" => is_tokens,
            _ => false,
        }
}

/// How wide a class is: an exact one is narrower than every wider one.
pub(crate) fn width(wide: &str, own: &str) -> usize {
    if wide == own && !WIDER.contains(&wide) {
        return 0;
    }
    WIDER.iter().position(|name| *name == wide).map_or(WIDER.len(), |place| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_class_holds_ours_and_no_other() {
        for (wide, held, not) in [
            ("cache_read", "cache_read_explicit", "cache_write_5m"),
            ("cache_write", "cache_write_1h", "cache_read"),
            ("input", "audio_in", "output_text"),
            ("output", "reasoning", "audio_out"),
            ("tokens", "image_out", "searches"),
            ("searches", "searches", "requests"),
        ] {
            assert!(holds(wide, held) && !holds(wide, not), "{wide}");
            assert!(is_known(wide));
        }
        assert!(width("output_text", "output_text") < width("output", "output_text"));
        assert!(width("input", "cache_read") < width("tokens", "cache_read"));
        assert!(width("cache_read", "cache_read") < width("input", "cache_read"));
        assert!(is_other("other: tax") && !is_known("other: tax"));
    }
}
