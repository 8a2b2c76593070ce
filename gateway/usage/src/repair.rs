//! Closes a JSON document that was cut short, so that what came of it can be read.
//!
//! Only for text that is used in an estimate: usage is never taken out of a repaired document.

/// Deepest nesting that is repaired: the JSON reader behind it takes no more.
const DEPTH_MAX: usize = 120;

/// The kind of the innermost open bracket, and whether a key comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    List,
    Object { key: bool },
}

/// `cut` with every open string and bracket closed; what cannot be completed is dropped.
/// `None` when it is no JSON or nested too deeply.
pub(crate) fn close(cut: &[u8]) -> Option<Vec<u8>> {
    let cut = whole_characters(cut);
    let mut open: Vec<Open> = Vec::new();
    // Where the document may end, brackets aside, at the present depth.
    let mut end = 0;
    let mut at = 0;
    while let Some(&byte) = cut.get(at) {
        match byte {
            b'"' => match text_end(cut, at) {
                Ok(after) => {
                    at = after;
                    continue;
                }
                Err(kept) => {
                    let key = matches!(open.last(), Some(Open::Object { key: true }));
                    let mut closed = cut.get(..if key { end } else { kept })?.to_vec();
                    if !key {
                        closed.push(b'"');
                    }
                    return Some(with_brackets(closed, &open));
                }
            },
            b'{' => open.push(Open::Object { key: true }),
            b'[' => open.push(Open::List),
            b'}' | b']' => {
                open.pop()?;
            }
            b':' => set_key(&mut open, false),
            b',' => {
                end = at;
                set_key(&mut open, true);
            }
            _ => {}
        }
        at = at.checked_add(1)?;
        if matches!(byte, b'{' | b'[' | b'}' | b']') {
            end = at;
        }
        if open.len() > DEPTH_MAX {
            return None;
        }
    }
    Some(with_brackets(cut.get(..end)?.to_vec(), &open))
}

fn set_key(open: &mut [Open], next: bool) {
    if let Some(Open::Object { key }) = open.last_mut() {
        *key = next;
    }
}

fn with_brackets(mut closed: Vec<u8>, open: &[Open]) -> Vec<u8> {
    closed.extend(open.iter().rev().map(|open| match open {
        Open::List => b']',
        Open::Object { .. } => b'}',
    }));
    closed
}

/// `cut` without a character that has lost its last bytes.
fn whole_characters(cut: &[u8]) -> &[u8] {
    match std::str::from_utf8(cut) {
        Err(error) if error.error_len().is_none() => {
            cut.get(..error.valid_up_to()).unwrap_or_default()
        }
        _ => cut,
    }
}

/// Position behind the string that opens at `start`, or how much of it can be kept.
fn text_end(cut: &[u8], start: usize) -> Result<usize, usize> {
    let mut at = start.saturating_add(1);
    // Start of a high surrogate whose other half must follow.
    let mut half = None;
    loop {
        let kept = half.unwrap_or(at);
        let escape = match cut.get(at) {
            None => return Err(kept),
            Some(b'"') => return Ok(at.saturating_add(1)),
            Some(b'\\') => cut.get(at..).unwrap_or_default(),
            Some(_) => {
                half = None;
                at = at.saturating_add(1);
                continue;
            }
        };
        let length = if escape.get(1) == Some(&b'u') { 6 } else { 2 };
        let Some(escape) = escape.get(..length) else { return Err(kept) };
        let high =
            matches!(escape, [_, b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..]);
        half = if high { Some(at) } else { None };
        at = at.saturating_add(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_character_that_lost_its_end_is_dropped() {
        assert_eq!(close(b"{\"a\":\"x\xE7\xBD").unwrap(), b"{\"a\":\"x\"}");
        // A byte that is no text stays where it stands: the reader behind refuses the document.
        assert_eq!(close(b"{\"a\":\"x\xFFyz").unwrap(), b"{\"a\":\"x\xFFyz\"}");
    }

    #[test]
    fn a_document_is_closed_to_its_bound_of_depth() {
        for (depth, is_closed) in [(DEPTH_MAX, true), (DEPTH_MAX + 1, false)] {
            assert_eq!(close("[".repeat(depth).as_bytes()).is_some(), is_closed, "{depth}");
        }
    }

    #[test]
    fn every_prefix_of_a_document_closes_into_valid_json() {
        let whole = r#"{"a":[{"text":"Nil \"x\" 网 \ud83d\ude00 \u00e9 e"},{"b":null}],"c":-1.5e3,"d":{"e":true,"f":[]}}"#;
        for at in 1..=whole.len() {
            let closed = close(&whole.as_bytes()[..at]).unwrap();

            let value = serde_json::from_slice::<serde_json::Value>(&closed);

            assert!(value.is_ok(), "{at}: {}", String::from_utf8_lossy(&closed));
        }
    }

    #[test]
    fn a_cut_text_keeps_what_came() {
        let closed = close(br#"{"choices":[{"message":{"content":"The Ni"#).unwrap();

        assert_eq!(closed, br#"{"choices":[{"message":{"content":"The Ni"}}]}"#);
    }
}
