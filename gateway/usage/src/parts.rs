//! From a family's own usage fields to disjoint token classes (M2).
//!
//! A family fills [`Parts`] and declares its [`Convention`]; the arithmetic is here, once, for
//! all of them. Nothing is subtracted that does not fit: a split that exceeds its whole is
//! dropped and flagged, the provider's whole stays.

use permille_types::{TokenClass, TokenCount, TokenCounts, Unit, UnitCounts};

/// What a family's numbers include.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Convention {
    /// The input number includes what was read from and written to the cache.
    pub(crate) input_includes_cache: bool,
    /// The output number includes reasoning.
    pub(crate) output_includes_reasoning: bool,
}

/// Usage fields as a family reports them, before they are made disjoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) input: Option<TokenCount>,
    pub(crate) output: Option<TokenCount>,
    /// The provider's own sum, used only to check.
    pub(crate) total: Option<TokenCount>,
    pub(crate) cache_read: Option<TokenCount>,
    /// Cache reads that a provider prices apart, because the request asked for the cache.
    pub(crate) cache_read_explicit: Option<TokenCount>,
    /// All cache writes; the four below are its split by lifetime.
    pub(crate) cache_write: Option<TokenCount>,
    pub(crate) cache_write_5m: Option<TokenCount>,
    pub(crate) cache_write_30m: Option<TokenCount>,
    pub(crate) cache_write_1h: Option<TokenCount>,
    pub(crate) cache_write_12h: Option<TokenCount>,
    pub(crate) audio_in: Option<TokenCount>,
    pub(crate) image_in: Option<TokenCount>,
    pub(crate) video_in: Option<TokenCount>,
    pub(crate) reasoning: Option<TokenCount>,
    pub(crate) audio_out: Option<TokenCount>,
    pub(crate) image_out: Option<TokenCount>,
    /// Quantities that are not tokens.
    pub(crate) units: UnitCounts,
    /// A field could not be read as a count.
    pub(crate) bad: bool,
}

impl Parts {
    /// Takes over every field that `newer` reports: the last non-null report wins (M4). One
    /// exception: no prompt and no answer shrinks to nothing, so that a side which is all zeros
    /// never replaces one that is not. Some servers end a stream with such a report.
    pub(crate) fn merge(&mut self, newer: &Self) {
        let mut newer = newer.clone();
        macro_rules! forget {
            ($($field:ident),+ $(,)?) => { $(newer.$field = None;)+ };
        }
        if newer.input.is_some() && newer.prompt() == 0 && self.prompt() > 0 {
            forget!(input, cache_read, cache_read_explicit, cache_write, cache_write_5m);
            forget!(cache_write_30m, cache_write_1h, cache_write_12h, audio_in, image_in);
            forget!(video_in, total);
        }
        if newer.output.is_some() && newer.answer() == 0 && self.answer() > 0 {
            forget!(output, reasoning, audio_out, image_out, total);
        }
        // A sum belongs to the report it came with; a later report without one is not its match.
        if newer.input.is_some() || newer.output.is_some() {
            self.total = None;
        }
        macro_rules! last {
            ($($field:ident),+ $(,)?) => { $(self.$field = newer.$field.or(self.$field);)+ };
        }
        last!(input, output, total, cache_read, cache_read_explicit, cache_write, cache_write_5m);
        last!(cache_write_30m, cache_write_1h, cache_write_12h, audio_in, image_in, video_in);
        last!(reasoning, audio_out, image_out);
        self.units.extend(&newer.units);
        self.bad |= newer.bad;
    }

    /// Takes over the totals of a report that has nothing else.
    pub(crate) fn tell(&mut self, input: Option<TokenCount>, output: Option<TokenCount>) {
        self.merge(&Self { input, output, ..Self::default() });
    }

    /// Adds `other`'s tokens to these: for counts that a provider keeps beside its totals.
    pub(crate) fn add(&mut self, other: &Self) {
        macro_rules! sum {
            ($($field:ident),+ $(,)?) => { $(self.$field = sum(self.$field, other.$field);)+ };
        }
        sum!(input, output, cache_read, cache_read_explicit, cache_write, cache_write_5m);
        sum!(cache_write_30m, cache_write_1h, cache_write_12h, audio_in, image_in, video_in);
        sum!(reasoning, audio_out, image_out);
        for (unit, count) in &other.units {
            let sum = self.units.entry(*unit).or_default();
            *sum = sum.saturating_add(*count);
        }
        self.bad |= other.bad;
    }

    /// Searches, as units.
    pub(crate) fn searches(count: Option<u64>) -> UnitCounts {
        count.map(|count| (Unit::Searches, count)).into_iter().collect()
    }

    /// More than 0 when a prompt was reported, in whichever field.
    fn prompt(&self) -> TokenCount {
        [
            self.input,
            self.cache_read,
            self.cache_read_explicit,
            self.cache_write,
            self.cache_write_5m,
            self.cache_write_30m,
            self.cache_write_1h,
            self.cache_write_12h,
        ]
        .into_iter()
        .flatten()
        .fold(0, TokenCount::saturating_add)
    }

    /// More than 0 when an answer was reported, in whichever field.
    fn answer(&self) -> TokenCount {
        self.output.unwrap_or(0).saturating_add(self.reasoning.unwrap_or(0))
    }

    /// Whether nothing was reported, not even what cannot be read.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The classes, disjoint, in the provider's own totals.
    pub(crate) fn tally(&self, convention: Convention) -> Usage {
        let cache = convention.input_includes_cache;
        let ([minutes_5, minutes_30, hour, hours_12, untold], writes_fit) = self.cache_writes();
        let input = side(
            self.input,
            TokenClass::INPUT_UNCACHED,
            [
                (TokenClass::CACHE_READ, self.cache_read, cache),
                (TokenClass::CACHE_READ_EXPLICIT, self.cache_read_explicit, cache),
                (TokenClass::CACHE_WRITE_5M, minutes_5, cache),
                (TokenClass::CACHE_WRITE_30M, minutes_30, cache),
                (TokenClass::CACHE_WRITE_1H, hour, cache),
                (TokenClass::CACHE_WRITE_12H, hours_12, cache),
                (TokenClass::CACHE_WRITE_OTHER, untold, cache),
                (TokenClass::AUDIO_IN, self.audio_in, true),
                (TokenClass::IMAGE_IN, self.image_in, true),
                (TokenClass::VIDEO_IN, self.video_in, true),
            ],
        );
        let output = side(
            self.output,
            TokenClass::OUTPUT_TEXT,
            [
                (TokenClass::REASONING, self.reasoning, convention.output_includes_reasoning),
                (TokenClass::AUDIO_OUT, self.audio_out, true),
                (TokenClass::IMAGE_OUT, self.image_out, true),
            ],
        );
        let sum = match (input.total, output.total) {
            (Some(input), Some(output)) => input.checked_add(output),
            _ => None,
        };
        let sum_fits = self.total.is_none() || sum.is_none() || self.total == sum;
        Usage {
            mismatch: self.bad || !(writes_fit && input.fits && output.fits && sum_fits),
            input: input.tokens,
            input_total: input.total,
            output: output.tokens,
            output_total: output.total,
            output_final: false,
            is_tokenless: false,
            units: self.units.clone(),
        }
    }

    /// Cache writes by lifetime (5 and 30 minutes, 1 and 12 hours, not told), and whether the split
    /// fits into the whole.
    fn cache_writes(&self) -> ([Option<TokenCount>; 5], bool) {
        let told =
            [self.cache_write_5m, self.cache_write_30m, self.cache_write_1h, self.cache_write_12h];
        let [minutes_5, minutes_30, hour, hours_12] = told;
        let split = |untold| [minutes_5, minutes_30, hour, hours_12, untold];
        let Some(whole) = self.cache_write else { return (split(None), true) };
        let told_sum = told.into_iter().flatten().fold(0, TokenCount::saturating_add);
        match whole.checked_sub(told_sum) {
            Some(0) if told.iter().any(Option::is_some) => (split(None), true),
            Some(untold) => (split(Some(untold)), true),
            None => ([None, None, None, None, Some(whole)], false),
        }
    }
}

fn sum(left: Option<TokenCount>, right: Option<TokenCount>) -> Option<TokenCount> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.saturating_add(right)),
        (only, None) | (None, only) => only,
    }
}

/// One direction of a reply.
struct Side {
    tokens: TokenCounts,
    total: Option<TokenCount>,
    fits: bool,
}

/// A class of one direction, what was reported of it, and whether the whole includes it.
type Part = (TokenClass, Option<TokenCount>, bool);

/// Splits `whole` into `base` and the `parts` inside it, and adds those outside it.
fn side<const N: usize>(whole: Option<TokenCount>, base: TokenClass, parts: [Part; N]) -> Side {
    let Some(whole) = whole else {
        return Side { tokens: TokenCounts::new(), total: None, fits: true };
    };
    let all = |inside| {
        let counts = parts.iter().filter(|(.., is_inside)| *is_inside == inside);
        counts.filter_map(|(_, count, _)| *count).fold(0, TokenCount::saturating_add)
    };
    let (rest, beside) = (whole.checked_sub(all(true)), all(false));
    let fits = rest.is_some();
    let mut tokens = TokenCounts::new();
    tokens.insert(base, rest.unwrap_or(whole));
    for (class, count, inside) in parts {
        if let Some(count) = count.filter(|_| fits || !inside) {
            tokens.insert(class, count);
        }
    }
    Side { tokens, total: Some(whole.saturating_add(beside)), fits }
}

/// What a provider reported for one reply, in disjoint classes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens by class; empty when the input was not reported.
    pub input: TokenCounts,
    /// Sum of `input`.
    pub input_total: Option<TokenCount>,
    /// Output tokens by class; empty when the output was not reported.
    pub output: TokenCounts,
    /// Sum of `output`.
    pub output_total: Option<TokenCount>,
    /// Whether the output is the whole reply's, not a running count.
    pub output_final: bool,
    /// Tokens are not what is paid for, so that none are estimated.
    pub is_tokenless: bool,
    /// Quantities that are not tokens.
    pub units: UnitCounts,
    /// The provider's numbers contradict each other, or one of them could not be read.
    pub mismatch: bool,
}

impl Usage {
    /// Whether nothing more has to be known to bill the reply.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let all_tokens = self.input_total.is_some() && self.output_total.is_some();
        self.is_tokenless || (all_tokens && self.output_final)
    }
}
