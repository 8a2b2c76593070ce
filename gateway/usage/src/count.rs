//! Where a reply's counts come from, decided in one place (M3, M7, M8).

use permille_types::{Endpoint, Flag, Source, TokenClass, TokenCount, TokenCounts, UnitCounts};

use crate::{
    estimate::{self, Vocabulary},
    parts::Usage,
    reading::Reading,
};

/// Billable quantities of one reply, with their provenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Tokens by disjoint class.
    pub tokens: TokenCounts,
    /// Sum of the input classes; absent when unknown.
    pub input_total: Option<TokenCount>,
    /// Sum of the output classes; absent when unknown.
    pub output_total: Option<TokenCount>,
    /// Quantities that are not tokens.
    pub units: UnitCounts,
    /// Where the counts come from.
    pub source: Source,
    /// What a reader of the row should know.
    pub flags: Vec<Flag>,
}

/// Counts a reply, at its end or wherever it was left.
///
/// | the provider reported | and | gives |
/// |---|---|---|
/// | input and output | | `reported` |
/// | one of the two | | `partial`: the other is estimated |
/// | nothing | something was delivered, or the reply has not failed | `estimated` |
/// | nothing | nothing was delivered and the reply failed | `missing`, no tokens |
///
/// A reply that only says that the work goes on in the background gives `missing`, no tokens.
///
/// An endpoint that consumes nothing gives an exact nothing: `reported`, no tokens.
///
/// Estimating costs time in proportion to the text, a few milliseconds at its bounds; a reply with
/// complete usage costs none.
#[must_use]
pub fn count(reading: &Reading, endpoint: Endpoint, request_body: &[u8]) -> Counted {
    let mut counted = Counted {
        tokens: TokenCounts::new(),
        input_total: None,
        output_total: None,
        units: UnitCounts::new(),
        source: Source::Reported,
        flags: Vec::new(),
    };
    if !endpoint.is_metered() {
        return counted;
    }
    let unreported = Usage::default();
    let usage = reading.usage.as_ref().unwrap_or(&unreported);
    if usage.mismatch {
        counted.flags.push(Flag::UsageMismatch);
    }
    if reading.tap_error {
        counted.flags.push(Flag::TapError);
    }
    counted.units.clone_from(&usage.units);
    if usage.is_complete() {
        counted.take_input(usage);
        counted.take_output(usage);
        return counted;
    }
    if reading.pending {
        counted.source = Source::Missing;
        counted.flags.push(Flag::Background);
        return counted;
    }
    let nothing_reported = usage.input_total.is_none() && usage.output_total.is_none();
    if nothing_reported && reading.failed && reading.text.is_empty() && !reading.unreadable {
        counted.source = Source::Missing;
        return counted;
    }
    counted.source = if nothing_reported { Source::Estimated } else { Source::Partial };
    let request = estimate::Request::read(endpoint, request_body);
    let model = reading.model.as_deref().or(request.model()).unwrap_or_default();
    let vocabulary = Vocabulary::of(model);
    if usage.input_total.is_some() {
        counted.take_input(usage);
    } else {
        let input = request.tokens(vocabulary);
        counted.tokens.insert(TokenClass::INPUT_UNCACHED, input);
        counted.input_total = Some(input);
    }
    counted.complete_output(usage, reading, vocabulary);
    counted
}

impl Counted {
    /// Nothing is known, and nothing was counted.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            tokens: TokenCounts::new(),
            input_total: None,
            output_total: None,
            units: UnitCounts::new(),
            source: Source::Missing,
            flags: Vec::new(),
        }
    }

    fn take_input(&mut self, usage: &Usage) {
        self.tokens.extend(usage.input.clone());
        self.input_total = usage.input_total;
    }

    fn take_output(&mut self, usage: &Usage) {
        self.tokens.extend(usage.output.clone());
        self.output_total = usage.output_total;
    }

    /// The output of a reply whose end was not seen: what was delivered, and no less than the
    /// provider's running count.
    fn complete_output(&mut self, usage: &Usage, reading: &Reading, vocabulary: Vocabulary) {
        let text = &reading.text;
        let visible = vocabulary.tokens(&text.visible);
        let reasoning = vocabulary.tokens(&text.reasoning);
        let delivered = visible.saturating_add(reasoning);
        if usage.output_total.is_some_and(|running| usage.output_final || running >= delivered) {
            self.take_output(usage);
        } else if !(reading.unreadable && text.is_empty()) {
            self.tokens.insert(TokenClass::OUTPUT_TEXT, visible);
            if text.reasoning.bytes() > 0 {
                self.tokens.insert(TokenClass::REASONING, reasoning);
            }
            self.output_total = Some(delivered);
        }
    }
}
