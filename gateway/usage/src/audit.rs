//! Counting as an auditor: what a reply that reports usage would be by our own count.
//!
//! Never changes what is billed: a provider's numbers stand, and where they drift from ours is
//! told.

use permille_types::{Endpoint, ModelName, TokenClass, TokenCount, TokenCounts, Unit};

use crate::{
    Corrections, Reading,
    estimate::{Ahead, Counter, Direction, Request, Tally},
    parts::Usage,
    text::TextSample,
};

/// Tokens that are neither text nor written here as text.
const MEDIA: [TokenClass; 5] = [
    TokenClass::AUDIO_IN,
    TokenClass::IMAGE_IN,
    TokenClass::VIDEO_IN,
    TokenClass::AUDIO_OUT,
    TokenClass::IMAGE_OUT,
];

/// One direction of a reply, counted twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// What the provider reported for text.
    pub reported: TokenCount,
    /// What it is by our count.
    pub counted: TokenCount,
    /// The text of it, where all of it was counted.
    tally: Tally,
    /// Of what was counted: what is not text.
    framing: TokenCount,
}

/// A reply that was counted twice. A direction that cannot be counted here is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Whether it was counted with the model's own vocabulary, not with one that stands in.
    pub is_own_vocabulary: bool,
    /// The prompt.
    pub input: Option<Compared>,
    /// The answer.
    pub output: Option<Compared>,
}

impl Audit {
    /// Counts a reply of `model` whose usage is complete and whose text is in `reading`; `None`
    /// where there is nothing to compare. Takes a few milliseconds: no work for an event loop.
    #[must_use]
    pub fn of(
        model: &ModelName,
        reading: &Reading,
        endpoint: Endpoint,
        request_body: &[u8],
        ahead: Option<&Ahead>,
    ) -> Option<Self> {
        let usage = reading.usage.as_ref().filter(|usage| usage.is_complete())?;
        if reading.tap_error || reading.unreadable || usage.is_tokenless || usage.mismatch {
            return None;
        }
        let counter = Counter::of(model.as_str());
        let input = input(usage, counter, endpoint, request_body);
        let output =
            if endpoint.is_embedding() { None } else { output(usage, reading, counter, ahead) };
        let is_own_vocabulary = counter.is_own;
        (input.is_some() || output.is_some()).then_some(Self { is_own_vocabulary, input, output })
    }

    /// Teaches what it says of a vocabulary that stands in. One that is the model's own needs no
    /// correction: there, a difference is the provider's.
    pub fn teach(&self, model: &ModelName, corrections: &Corrections) {
        if self.is_own_vocabulary {
            return;
        }
        let sides = [(Direction::Input, self.input), (Direction::Output, self.output)];
        for (direction, compared) in sides {
            if let Some(Compared { reported, tally, framing, .. }) = compared {
                let text = reported.saturating_sub(framing);
                corrections.learn(model.as_str(), direction, tally.tokens, text);
            }
        }
    }
}

/// The prompt, where all of it stands in the request as text: not what a search or a file added.
fn input(
    usage: &Usage,
    counter: Counter,
    endpoint: Endpoint,
    request_body: &[u8],
) -> Option<Compared> {
    let reported = usage.input_total?.checked_sub(media(&usage.input))?;
    let request = Request::read(endpoint, request_body);
    if !request.is_text() || usage.units.contains_key(&Unit::Searches) {
        return None;
    }
    Compared::new(reported, request.tally(counter), request.text_bytes(), request.framing())
}

/// The answer. Reasoning is left out where it is reported apart, because what is shown of it may be
/// a summary.
fn output(
    usage: &Usage,
    reading: &Reading,
    counter: Counter,
    ahead: Option<&Ahead>,
) -> Option<Compared> {
    let total = usage.output_total?.checked_sub(media(&usage.output))?;
    let (visible, reasoning) = ahead.map(Ahead::tallies).unwrap_or_default();
    let text = &reading.text;
    let rest = |sample: &TextSample| counter.tally(sample.kept());
    let visible = visible.and(rest(&text.visible));
    if let Some(apart) = usage.output.get(&TokenClass::REASONING) {
        return Compared::new(total.checked_sub(*apart)?, visible, text.visible.bytes(), 0);
    }
    let tally = visible.and(reasoning.and(rest(&text.reasoning)));
    let bytes = text.visible.bytes().saturating_add(text.reasoning.bytes());
    Compared::new(total, tally, bytes, 0)
}

impl Compared {
    fn new(reported: TokenCount, tally: Tally, bytes: u64, framing: TokenCount) -> Option<Self> {
        // What was not counted is taken to be like what was; nothing is learnt from such a text.
        let counted = tally.extrapolated(bytes).saturating_add(framing);
        let taught = if bytes > tally.bytes { Tally::default() } else { tally };
        (tally.bytes > 0).then_some(Self { reported, counted, tally: taught, framing })
    }
}

fn media(tokens: &TokenCounts) -> TokenCount {
    MEDIA.iter().filter_map(|class| tokens.get(class)).fold(0, |sum, n| n.saturating_add(sum))
}
