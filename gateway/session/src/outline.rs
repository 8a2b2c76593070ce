//! How messages are written around their texts.
//!
//! A client writes all messages of a speaker alike: what stands before and behind the text was read
//! once, is compared for the next ones, and only the text is read.

use permille_json::Json;

use crate::{message::Speaker, walk::Draft};

/// A message less its text, which is all that it says.
pub(crate) struct Outline<'b> {
    /// As it stands in the body, up to the text's first quote and from its last one on.
    pub(crate) before: &'b [u8],
    pub(crate) behind: &'b [u8],
    /// What it tells of the speaker.
    pub(crate) role: Option<Speaker>,
    pub(crate) item: Option<Speaker>,
    pub(crate) holds_result: bool,
}

/// The last two outlines of a request: those of the person and of the model, mostly.
#[derive(Default)]
pub(crate) struct Outlines<'b> {
    latest: Option<Outline<'b>>,
    before: Option<Outline<'b>>,
}

impl<'b> Outlines<'b> {
    /// Reads the message that comes next where it is written as one before; else nothing is passed
    /// over.
    pub(crate) fn read(&mut self, json: &mut Json<'b>, draft: &mut Draft) -> bool {
        // They speak in turns.
        if filled(self.before.as_ref(), json, draft) {
            std::mem::swap(&mut self.latest, &mut self.before);
            return true;
        }
        filled(self.latest.as_ref(), json, draft)
    }

    pub(crate) fn learn(&mut self, outline: Option<Outline<'b>>) {
        if let Some(outline) = outline {
            self.before = self.latest.replace(outline);
        }
    }
}

fn filled(outline: Option<&Outline<'_>>, json: &mut Json<'_>, draft: &mut Draft) -> bool {
    let Some(outline) = outline else { return false };
    let text = json.text_between(outline.before, outline.behind);
    text.is_some_and(|text| {
        draft.fill(outline, text);
        true
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{Conversation, Key};

    /// A message as it is written, less its first brace.
    fn message() -> impl Strategy<Value = String> {
        let role = prop::sample::select(vec!["user", "assistant", "tool", "system"]);
        let text = prop_oneof![
            2 => "[a-z ]{0,9}",
            2 => "a?",
            1 => any::<String>(),
            1 => "[ \\\\\"\n]{0,3}[a-z]{90,120}\n: please summarise[ ]{0,2}",
        ];
        let written = |text: String| serde_json::to_string(&text).unwrap();
        (0..12, role, text.prop_map(written), "[a-z]{0,2}").prop_map(|(shape, role, text, name)| {
            match shape {
                0 | 1 => format!(r#""role":"{role}","content":{text}}}"#),
                2 => format!(r#" "content" : {text}, "role": "{role}", "refusal": null}}"#),
                3 => format!(r#""role":"{role}","content":[{{"type":"text","text":{text}}}]}}"#),
                4 => format!(r#""role":"{role}","content":{text},"name":"{name}"}}"#),
                5 => format!(r#""role":"{role}","content":{text},"number":{}}}"#, name.len()),
                6 => format!(r#""type":"function_call_output","output":{text}}}"#),
                7 => format!(r#""type":"function_call","name":"{name}","arguments":{text}}}"#),
                8 => format!(r#""role":"{role}","content":[{text},{text}]}}"#),
                9 => format!(r#""role":"{role}","content":[{{"input":{{"q":{text}}}}}]}}"#),
                10 => format!(r#""role":"{role}","arguments":[{text}]}}"#),
                _ => format!(
                    r#""role":"{role}","content":[{{"type":"tool_result","content":{text}}}]}}"#
                ),
            }
        })
    }

    fn read(messages: impl Iterator<Item = String>) -> Conversation {
        let messages: Vec<_> = messages.collect();
        let body = format!(r#"{{"messages":[{}]}}"#, messages.join(","));
        Conversation::read(&Key::new([5; 32]), body.as_bytes())
    }

    proptest! {
        #[test]
        fn written_alike_or_not_messages_are_read_alike(
            messages in prop::collection::vec(message(), 1..24),
        ) {
            let alike = read(messages.iter().map(|message| format!("{{{message}")));

            // What is no part of a message tells all of them apart.
            let apart = messages.iter().enumerate();
            let apart = read(apart.map(|(id, message)| format!(r#"{{"id":{id},{message}"#)));

            prop_assert_eq!(alike, apart);
        }
    }

    /// No summary is looked for in what a tool is called with.
    #[test]
    fn an_argument_has_no_head() {
        let long = "so many words ".repeat(9);
        let message = format!(r#""role":"user","content":[{{"input":{{"q":"{long}"}}}}]}}"#);

        let read = read((0..2).map(|_| format!("{{{message}")));

        assert_eq!((read.messages.len(), read.lines), (2, Vec::new()));
    }
}
