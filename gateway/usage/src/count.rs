//! Where a reply's counts come from, decided in one place (M3, M7, M8).

use permille_types::{Endpoint, Flag, Source, TokenClass, TokenCount, TokenCounts, UnitCounts};

use crate::{
    estimate::{Ahead, Correction, Corrections, Counter, Estimate, Request, Tally},
    parts::Usage,
    reading::Reading,
    text::TextSample,
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
    /// How far off the tokens that were estimated may be, in thousandths of them; absent where none
    /// were.
    pub estimate_error_permille: Option<u32>,
    /// What a reader of the row should know.
    pub flags: Vec<Flag>,
}

/// What helps to estimate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimator<'a> {
    /// What replies that report have taught.
    pub corrections: Option<&'a Corrections>,
    /// What has been counted of the reply's text already.
    pub ahead: Option<&'a Ahead>,
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
    Estimator::default().count(reading, endpoint, request_body)
}

impl Estimator<'_> {
    /// As [`count()`], with what is known here.
    #[must_use]
    pub fn count(&self, reading: &Reading, endpoint: Endpoint, request_body: &[u8]) -> Counted {
        self.count_as(false, reading, endpoint, request_body)
    }

    /// Counts a request whose prompt the provider rejected and billed: the prompt, estimated where
    /// it is not reported. What was generated before the provider rejected it is told to nobody, so
    /// that the output is absent.
    #[must_use]
    pub fn count_rejected(
        &self,
        reading: &Reading,
        endpoint: Endpoint,
        request_body: &[u8],
    ) -> Counted {
        self.count_as(true, reading, endpoint, request_body)
    }

    fn count_as(
        &self,
        rejected: bool,
        reading: &Reading,
        endpoint: Endpoint,
        request_body: &[u8],
    ) -> Counted {
        let mut counted = Counted {
            tokens: TokenCounts::new(),
            input_total: None,
            output_total: None,
            units: UnitCounts::new(),
            source: Source::Reported,
            estimate_error_permille: None,
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
        let failed = reading.failed && reading.text.is_empty() && !reading.unreadable;
        if nothing_reported && failed && !rejected {
            counted.source = Source::Missing;
            return counted;
        }
        counted.source = if nothing_reported { Source::Estimated } else { Source::Partial };
        let request = Request::read(endpoint, request_body);
        let model = reading.model.as_deref().or(request.model()).unwrap_or_default();
        let tokenizer = Counter::of(model);
        let correction = self.corrections.map(|learnt| learnt.of(model)).unwrap_or_default();
        let input = if usage.input_total.is_some() {
            counted.take_input(usage);
            None
        } else {
            let input = request.estimate(tokenizer, &correction.input);
            counted.tokens.insert(TokenClass::INPUT_UNCACHED, input.tokens);
            counted.input_total = Some(input.tokens);
            Some(input)
        };
        let output = if rejected {
            None
        } else {
            counted.complete_output(usage, reading, |sample, ahead| {
                self.estimate(sample, ahead, tokenizer, &correction)
            })
        };
        counted.note(input, output);
        counted
    }

    /// Tokens of a delivered text, of which `ahead` was counted before.
    fn estimate(
        &self,
        sample: &TextSample,
        ahead: fn(&Ahead) -> Tally,
        tokenizer: Counter,
        correction: &Correction,
    ) -> Estimate {
        let before = self.ahead.map(ahead).unwrap_or_default();
        let tally = before.and(tokenizer.tally(sample.kept()));
        Estimate::text(tally, sample.bytes(), tokenizer.is_own, &correction.output)
    }
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
            estimate_error_permille: None,
            flags: Vec::new(),
        }
    }

    fn take_input(&mut self, usage: &Usage) {
        self.tokens.extend(usage.input.iter().map(|(class, count)| (class.clone(), *count)));
        self.input_total = usage.input_total;
    }

    fn take_output(&mut self, usage: &Usage) {
        self.tokens.extend(usage.output.iter().map(|(class, count)| (class.clone(), *count)));
        self.output_total = usage.output_total;
    }

    /// The output of a reply whose end was not seen: what was delivered, and no less than the
    /// provider's running count. Gives the estimate, where it is one.
    fn complete_output(
        &mut self,
        usage: &Usage,
        reading: &Reading,
        estimate: impl Fn(&TextSample, fn(&Ahead) -> Tally) -> Estimate,
    ) -> Option<Estimate> {
        let text = &reading.text;
        let visible = estimate(&text.visible, |ahead| ahead.tallies().0);
        let reasoning = estimate(&text.reasoning, |ahead| ahead.tallies().1);
        let delivered = visible.and(reasoning);
        let running = usage.output_total;
        if running.is_some_and(|running| usage.output_final || running >= delivered.tokens) {
            self.take_output(usage);
            return None;
        }
        if reading.unreadable && text.is_empty() {
            return None;
        }
        self.tokens.insert(TokenClass::OUTPUT_TEXT, visible.tokens);
        if text.reasoning.bytes() > 0 {
            self.tokens.insert(TokenClass::REASONING, reasoning.tokens);
        }
        self.output_total = Some(delivered.tokens);
        Some(delivered)
    }

    /// Says how sure the estimated directions are.
    fn note(&mut self, input: Option<Estimate>, output: Option<Estimate>) {
        if input.is_none() && output.is_none() {
            return;
        }
        let all = input.unwrap_or_default().and(output.unwrap_or_default());
        self.estimate_error_permille = Some(all.permille());
        if all.is_corrected {
            self.flags.push(Flag::LearntRatio);
        }
    }
}
