//! What is known about a reply, while it is read and afterwards.

use crate::{
    family::Verdict,
    parts::{Parts, Usage},
    text::{DeliveredText, Stop},
};

/// Longest id, model or tier that is taken over, in bytes: what a row can hold.
const NAME_BYTES_MAX: usize = 256;

/// Bytes of a reply's text that tell it from others.
pub(crate) const OPENING_BYTES: usize = 1024;

/// What a tap knows about its reply. Cheap to ask for: text is only in it while usage is not
/// complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent observations")]
pub struct Reading {
    /// What the provider reported so far.
    pub usage: Option<Usage>,
    /// The id in the reply's body. Not unique: an attribute, never a key (M1).
    pub provider_id: Option<String>,
    /// The model that the reply names.
    pub model: Option<String>,
    /// The service tier that the reply names; it decides the price.
    pub service_tier: Option<String>,
    /// Why the model stopped before it had answered, where the reply says so.
    pub stop: Option<Stop>,
    /// The family's terminal event was seen, or the JSON document closed.
    pub terminal: bool,
    /// The family says where a reply ends, and neither that nor a reason to stop has come.
    pub unended: bool,
    /// The body of a successful status is, or holds, an error.
    pub error: bool,
    /// The reply only says that the work goes on in the background: it consumed nothing yet.
    pub pending: bool,
    /// The reply failed: an error, cut off by the upstream, or ended without having begun.
    pub failed: bool,
    /// A part of the reply could not be read; its bytes passed all the same (M5).
    pub tap_error: bool,
    /// The body's encoding could not be read, so `text` says nothing about what was delivered.
    pub unreadable: bool,
    /// How the visible text begins, at most 1 KiB: what a client sends that goes on from the reply.
    pub opening: String,
    /// The delivered text; empty when `usage` is complete.
    pub text: DeliveredText,
}

/// The state that a family's parser writes to.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent observations")]
pub(crate) struct Facts {
    pub(crate) provider_id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) service_tier: Option<String>,
    pub(crate) parts: Parts,
    /// The output in `parts` is the whole reply's.
    pub(crate) output_final: bool,
    /// A choice said why it stopped, in a format where that is not yet the reply's end.
    pub(crate) finish_seen: bool,
    pub(crate) terminal: bool,
    pub(crate) error: bool,
    pub(crate) pending: bool,
    pub(crate) tap_error: bool,
    pub(crate) unreadable: bool,
    /// The body ended, cleanly or not.
    pub(crate) ended: bool,
    /// The upstream broke the body off.
    pub(crate) abandoned: bool,
    pub(crate) text: DeliveredText,
}

impl Facts {
    /// The family's terminal event: the reply is complete, and its output is told.
    pub(crate) fn end(&mut self) -> Verdict {
        self.terminal = true;
        self.output_final = true;
        Verdict::Terminal
    }

    /// An event that says that the reply has failed, which nothing follows. What was counted until
    /// then is a running count.
    pub(crate) fn fail(&mut self) -> Verdict {
        self.error = true;
        self.terminal = true;
        Verdict::Terminal
    }

    /// What an event is that says of itself whether the reply has failed and whether it ends.
    pub(crate) fn close(&mut self, failed: bool, ended: bool) -> Verdict {
        if failed {
            self.fail()
        } else if ended {
            self.end()
        } else {
            Verdict::Plain
        }
    }

    /// Notes the reply's id.
    pub(crate) fn note_id(&mut self, text: &str) {
        note(&mut self.provider_id, text);
    }

    /// Notes the reply's model.
    pub(crate) fn note_model(&mut self, text: &str) {
        note(&mut self.model, text);
    }

    /// Notes the reply's service tier.
    pub(crate) fn note_tier(&mut self, text: &str) {
        note(&mut self.service_tier, text);
    }

    /// A copy without the text, which may be large.
    pub(crate) fn light_clone(&self) -> Self {
        Self {
            provider_id: self.provider_id.clone(),
            model: self.model.clone(),
            service_tier: self.service_tier.clone(),
            parts: self.parts.clone(),
            text: DeliveredText::default(),
            ..*self
        }
    }

    /// Whether the upstream failed to give a reply, so that nothing is billed for nothing.
    pub(crate) fn is_failed(&self) -> bool {
        self.error || self.abandoned || (self.ended && !self.terminal && !self.unreadable)
    }
}

/// The last non-empty text wins: some providers leave names empty in their first chunk.
fn note(slot: &mut Option<String>, text: &str) {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || slot.as_deref() == Some(text) {
        return;
    }
    *slot = Some(text.to_owned());
}
