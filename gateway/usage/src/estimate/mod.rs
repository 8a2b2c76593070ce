//! Token counts of text, for replies whose provider reports none.
//!
//! An estimate, and flagged as one: exact for `OpenAI` models, within a few percent on English and
//! within a third on Chinese for others, whose vocabularies are not public.

mod input;

use bpe_openai::Tokenizer;
use permille_types::{Endpoint, TokenCount};

pub(crate) use input::Request;

use crate::text::TextSample;

/// Model names, by what they contain, that use the older vocabulary; exceptions first.
///
/// Source: tiktoken's model table, 2026-09.
const VOCABULARIES: &[(&str, Vocabulary)] = &[
    ("gpt-4o", Vocabulary::O200k),
    ("gpt-4.1", Vocabulary::O200k),
    ("gpt-4.5", Vocabulary::O200k),
    ("gpt-4", Vocabulary::Cl100k),
    ("gpt-3.5", Vocabulary::Cl100k),
    ("gpt-35", Vocabulary::Cl100k),
    ("text-embedding-", Vocabulary::Cl100k),
];

/// A tokenizer's vocabulary. Its tables are built on first use, once per process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vocabulary {
    Cl100k,
    O200k,
}

impl Vocabulary {
    /// The vocabulary of `model`; the newest one when it is not known.
    pub(crate) fn of(model: &str) -> Self {
        VOCABULARIES
            .iter()
            .find(|(part, _)| model.contains(part))
            .map_or(Self::O200k, |(_, vocabulary)| *vocabulary)
    }

    /// Tokens of the text that `sample` stands for.
    pub(crate) fn tokens(self, sample: &TextSample) -> TokenCount {
        extrapolate(self.count(sample.kept()), sample)
    }

    /// Tokens of `text`.
    fn count(self, text: &str) -> TokenCount {
        TokenCount::try_from(self.tokenizer().count(text)).unwrap_or(TokenCount::MAX)
    }

    fn tokenizer(self) -> &'static Tokenizer {
        match self {
            Self::Cl100k => bpe_openai::cl100k_base(),
            Self::O200k => bpe_openai::o200k_base(),
        }
    }
}

/// `counted` tokens of what `sample` keeps, for all that it stands for.
fn extrapolate(counted: TokenCount, sample: &TextSample) -> TokenCount {
    let kept = u128::try_from(sample.kept().len()).unwrap_or(u128::MAX).max(1);
    let scaled = u128::from(counted).saturating_mul(u128::from(sample.bytes())).div_ceil(kept);
    TokenCount::try_from(scaled).unwrap_or(TokenCount::MAX)
}

/// Input tokens of a request, counted here. Costs a few milliseconds at most: text beyond 64 KiB
/// is extrapolated.
#[must_use]
pub fn estimate_input(endpoint: Endpoint, body: &[u8]) -> TokenCount {
    let request = Request::read(endpoint, body);
    request.tokens(Vocabulary::of(request.model().unwrap_or_default()))
}
