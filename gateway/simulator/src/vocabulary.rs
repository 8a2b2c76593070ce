//! Text of an exact token length, made of words whose token counts are known in advance.
//!
//! The byte-pair encoding of a text is not the sum of its words' in general. It is here, because
//! every unit begins where the tokenizer's own splitting begins a piece (a space before a word, a
//! mark before Han characters) and ends where it ends one. So no reply has to be encoded when it is
//! generated, and a stream costs two table look-ups per token. `text_counts_as_announced` holds it.

use std::sync::OnceLock;

use crate::{tokens, tokens::Fragment, words};

/// The language of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// Space-separated words.
    English,
    /// Han phrases.
    Chinese,
}

impl Language {
    /// The language to answer `text` in: Chinese when Han characters prevail, each taken
    /// for two letters.
    pub(crate) fn of(text: &str) -> Self {
        const SAMPLE_CHARS: usize = 4_096; // Enough to tell; keeps large prompts cheap.
        let (mut han, mut other) = (0_usize, 0_usize);
        for character in text.chars().take(SAMPLE_CHARS).filter(|c| c.is_alphabetic()) {
            if ('\u{3400}'..='\u{9fff}').contains(&character) { han += 1 } else { other += 1 }
        }
        if han * 2 > other { Self::Chinese } else { Self::English }
    }
}

/// Something that is always whole pieces of the tokenizer, whatever stands beside it.
#[derive(Debug)]
struct Unit {
    fragments: Vec<Fragment>,
    tokens: u64,
}

/// Units sorted by length, so that one that fits is found without a search.
#[derive(Debug)]
struct Units {
    sorted: Vec<Unit>,
    /// `fitting[n]`: how many units have at most `n` tokens.
    fitting: Vec<usize>,
}

impl Units {
    fn new(texts: impl Iterator<Item = String>) -> Self {
        let mut sorted: Vec<Unit> = texts
            .map(|text| {
                let fragments = tokens::fragments(&text);
                let tokens = fragments.iter().map(|fragment| fragment.tokens).sum();
                Unit { fragments, tokens }
            })
            .collect();
        sorted.sort_by_key(|unit| unit.tokens);
        let longest = sorted.last().map_or(0, |unit| unit.tokens);
        let fitting =
            (0..=longest).map(|n| sorted.partition_point(|unit| unit.tokens <= n)).collect();
        Self { sorted, fitting }
    }

    /// One of the units with at most `tokens` tokens, chosen by `draw`.
    fn pick(&self, tokens: u64, draw: u64) -> Option<&Unit> {
        let index = usize::try_from(tokens).unwrap_or(usize::MAX);
        let fitting = self.fitting.get(index).or(self.fitting.last()).copied()?;
        let span = u64::try_from(fitting).ok().filter(|span| *span > 0)?;
        self.sorted.get(usize::try_from(draw % span).ok()?)
    }
}

#[derive(Debug)]
struct Vocabulary {
    /// The first word of a reply.
    english_head: Units,
    /// The first word of a later sentence.
    english_start: Units,
    english: Units,
    unusual: Units,
    english_end: Units,
    chinese_head: Units,
    chinese: Units,
    chinese_end: Units,
}

static BUILT: OnceLock<Vocabulary> = OnceLock::new();

fn vocabulary() -> &'static Vocabulary {
    BUILT.get_or_init(|| {
        let capital = |word: &str| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| {
                first.to_uppercase().chain(letters).collect::<String>()
            })
        };
        let joined = words::CHINESE_JOINTS.split_whitespace().flat_map(|joint| {
            words::CHINESE.split_whitespace().map(move |phrase| format!("{joint}{phrase}"))
        });
        Vocabulary {
            english_head: Units::new(words::ENGLISH.split_whitespace().map(capital)),
            english_start: Units::new(
                words::ENGLISH.split_whitespace().map(|word| format!(" {}", capital(word))),
            ),
            english: Units::new(words::ENGLISH.split_whitespace().map(|word| format!(" {word}"))),
            unusual: Units::new(words::UNUSUAL.split_whitespace().map(|word| format!(" {word}"))),
            english_end: Units::new([".", ".", ".", "?", ".\n\n"].map(String::from).into_iter()),
            chinese_head: Units::new(words::CHINESE.split_whitespace().map(String::from)),
            chinese: Units::new(joined),
            chinese_end: Units::new(["。"].map(String::from).into_iter()),
        }
    })
}

/// Loads the tokenizer and the word tables; later calls cost nothing.
pub(crate) fn load() {
    vocabulary();
}

/// Whether [`load`] would cost nothing.
pub(crate) fn is_loaded() -> bool {
    BUILT.get().is_some()
}

/// The longest sentence, in words.
const SENTENCE_WORDS: u64 = 14;
/// One word in this many is an unusual one.
const UNUSUAL_EVERY: u64 = 11;

/// A small deterministic generator (SplitMix64): the same on every platform and version.
///
/// Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// A generator that repeats itself for the same `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high.saturating_sub(low) + 1)
    }
}

/// Where the sentence stands: decides what may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Head,
    SentenceStart,
    AfterWord {
        words: u64,
    },
    /// After something that a full stop would merge with.
    AfterUnusual {
        words: u64,
    },
}

/// A text of exactly so many tokens, handed out fragment by fragment. Memory: about 100 bytes,
/// whatever the length.
#[derive(Debug)]
pub(crate) struct WordSource {
    language: Language,
    dice: Dice,
    remaining: u64,
    position: Position,
    unit: Option<(&'static [Fragment], usize)>,
}

impl WordSource {
    /// A text of exactly `tokens` tokens; the same for the same `language` and `seed`, but for
    /// where it ends.
    pub(crate) fn new(language: Language, seed: u64, tokens: u64) -> Self {
        let dice = Dice::new(seed);
        Self { language, dice, remaining: tokens, position: Position::Head, unit: None }
    }

    fn next_unit(&mut self) -> Option<&'static Unit> {
        if self.remaining == 0 {
            return None;
        }
        let unit = match self.language {
            Language::English => self.next_english(),
            Language::Chinese => self.next_chinese(),
        }?;
        self.remaining = self.remaining.saturating_sub(unit.tokens);
        Some(unit)
    }

    fn next_english(&mut self) -> Option<&'static Unit> {
        let (vocabulary, draw) = (vocabulary(), self.dice.roll());
        let length = self.dice.between(5, SENTENCE_WORDS);
        let (units, next) = match self.position {
            Position::Head => (&vocabulary.english_head, Position::AfterWord { words: 1 }),
            Position::SentenceStart => {
                (&vocabulary.english_start, Position::AfterWord { words: 1 })
            }
            Position::AfterWord { words } if words >= length || self.remaining == 1 => {
                (&vocabulary.english_end, Position::SentenceStart)
            }
            Position::AfterWord { words }
                if self.dice.roll().is_multiple_of(UNUSUAL_EVERY) && self.remaining > 8 =>
            {
                (&vocabulary.unusual, Position::AfterUnusual { words: words + 1 })
            }
            Position::AfterWord { words } | Position::AfterUnusual { words } => {
                (&vocabulary.english, Position::AfterWord { words: words + 1 })
            }
        };
        self.position = next;
        units.pick(self.remaining, draw)
    }

    fn next_chinese(&mut self) -> Option<&'static Unit> {
        let (vocabulary, draw) = (vocabulary(), self.dice.roll());
        let units = match self.position {
            Position::Head => &vocabulary.chinese_head,
            _ if self.remaining == 1 => &vocabulary.chinese_end,
            _ => &vocabulary.chinese,
        };
        self.position = Position::AfterWord { words: 1 };
        units.pick(self.remaining, draw)
    }
}

impl Iterator for WordSource {
    type Item = &'static Fragment;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((fragments, index)) = self.unit {
                if let Some(fragment) = fragments.get(index) {
                    self.unit = Some((fragments, index + 1));
                    return Some(fragment);
                }
                self.unit = None;
            }
            self.unit = Some((self.next_unit()?.fragments.as_slice(), 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_of(language: Language, seed: u64, tokens: u64) -> String {
        WordSource::new(language, seed, tokens).map(|fragment| fragment.text.as_str()).collect()
    }

    proptest! {
        #[test]
        fn text_counts_as_announced(seed: u64, tokens in 0_u64..600, chinese: bool) {
            let language = if chinese { Language::Chinese } else { Language::English };

            let text = text_of(language, seed, tokens);

            prop_assert_eq!(tokens::count(&text), tokens, "{}", text);
        }
    }

    #[test]
    fn every_unit_beside_every_other_keeps_its_count() {
        let vocabulary = vocabulary();
        let whole = |unit: &Unit| -> String {
            unit.fragments.iter().map(|fragment| fragment.text.as_str()).collect()
        };
        for unusual in &vocabulary.unusual.sorted {
            for after in &vocabulary.english.sorted {
                let text = format!("Word{}{}.", whole(unusual), whole(after));
                assert_eq!(tokens::count(&text), 2 + unusual.tokens + after.tokens, "{text}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_text_and_another_seed_another() {
        assert_eq!(text_of(Language::English, 7, 60), text_of(Language::English, 7, 60));
        assert_ne!(text_of(Language::English, 7, 60), text_of(Language::English, 8, 60));
    }

    #[test]
    fn chinese_is_answered_in_chinese() {
        assert_eq!(Language::of("请用中文回答 please"), Language::Chinese);
        assert_eq!(Language::of("please answer 谢谢"), Language::English);
        assert_eq!(Language::of(""), Language::English);
        assert!(text_of(Language::Chinese, 1, 50).contains(['，', '。', '；', '！', '🙂']));
    }
}
