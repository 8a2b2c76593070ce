//! Ratios of what providers report to what a stand-in vocabulary counts, learnt from replies that
//! do report, by model, direction and script.
//!
//! A ratio is a running mean at first and an exponentially weighted one later; a single reply moves
//! a settled one by little, whatever it reports. Its spread is the running mean of how far replies
//! were off it. Bounded: the model that was learnt longest ago makes room for a new one, and what
//! was learnt of its kin (`claude-…`) stands in for a model of which nothing is known.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use permille_types::TokenCount;
use serde::{Deserialize, Serialize};

use super::script::SCRIPTS;

/// Models whose ratios are kept, and as many kins. 256 of 500 bytes at most.
const MODELS_MAX: usize = 256;
/// Replies after which a ratio is used: fewer are an anecdote.
const SAMPLES_MIN: u32 = 5;
/// Weight of a new reply once a ratio has settled, as a fraction.
const SETTLED: u32 = 16;
/// Least counted tokens of a text to learn from: what frames a short one is not its text.
const TOKENS_MIN: TokenCount = 64;
/// Least share of a script in a text to learn its ratio from, as a fraction.
const SHARE_MIN: u64 = 4;
/// 1, in millionths.
const ONE_PPM: u32 = 1_000_000;
/// How far the first replies may be off a ratio, in millionths: vocabularies differ threefold.
const UNSETTLED_PPM: (i128, i128) = (-750_000, 3_000_000);
/// How far off a settled ratio a reply may be to count in full: this and four spreads.
const SLACK_PPM: i128 = 100_000;
/// The shape of a kept table.
const VERSION: u16 = 1;

/// A learnt ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scale {
    /// Reported ÷ counted, in millionths.
    pub(crate) ratio_ppm: u32,
    /// Mean distance of replies from it, in millionths of it.
    pub(crate) spread_ppm: u32,
    /// Replies that it was learnt from.
    pub(crate) samples: u32,
}

impl Default for Scale {
    fn default() -> Self {
        Self { ratio_ppm: ONE_PPM, spread_ppm: 0, samples: 0 }
    }
}

impl Scale {
    pub(crate) fn is_learnt(self) -> bool {
        self.samples >= SAMPLES_MIN
    }

    /// Takes in a reply that was `off_ppm` off what was expected of it, to `share_ppm` of it.
    fn learn(&mut self, off_ppm: i128, share_ppm: i128) {
        let spread = i128::from(self.spread_ppm);
        let (least, most) = if self.is_learnt() {
            let reach = spread.saturating_mul(4).saturating_add(SLACK_PPM);
            ((-reach).max(UNSETTLED_PPM.0), reach.min(UNSETTLED_PPM.1))
        } else {
            UNSETTLED_PPM
        };
        let one = i128::from(ONE_PPM);
        let weight = i128::from(self.samples.saturating_add(1).min(SETTLED));
        let off = off_ppm.clamp(least, most);
        let factor = one.saturating_add(off.saturating_mul(share_ppm) / one / weight);
        let ratio = i128::from(self.ratio_ppm).saturating_mul(factor) / one;
        self.ratio_ppm = u32::try_from(ratio.max(1)).unwrap_or(u32::MAX);
        if self.samples > 0 {
            // The first reply tells where the ratio is, not how far others are from it.
            let weight = i128::from(self.samples.min(SETTLED));
            let moved = spread.saturating_add(off.abs().saturating_sub(spread) / weight);
            self.spread_ppm = u32::try_from(moved).unwrap_or(u32::MAX);
        }
        self.samples = self.samples.saturating_add(1);
    }
}

/// What a text is to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Input,
    Output,
}

/// Ratios of one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Correction {
    pub(crate) input: [Scale; SCRIPTS],
    pub(crate) output: [Scale; SCRIPTS],
    /// When it was last learnt: the table's count of lessons.
    lesson: u64,
}

impl Correction {
    /// Fills what is not learnt with what is: of the other direction first, because the vocabulary
    /// is the same, then of `kin`.
    fn completed(&self, kin: &Self) -> Self {
        let learnt = |scale: &Scale| scale.is_learnt().then_some(*scale);
        let pick = |script: usize, own: &[Scale; SCRIPTS], other: &[Scale; SCRIPTS]| {
            own.get(script).and_then(learnt).or(other.get(script).and_then(learnt))
        };
        let side = |own: [&[Scale; SCRIPTS]; 2], kin: [&[Scale; SCRIPTS]; 2]| {
            std::array::from_fn(|script| {
                pick(script, own[0], own[1])
                    .or_else(|| pick(script, kin[0], kin[1]))
                    .unwrap_or_default()
            })
        };
        Self {
            input: side([&self.input, &self.output], [&kin.input, &kin.output]),
            output: side([&self.output, &self.input], [&kin.output, &kin.input]),
            lesson: self.lesson,
        }
    }

    fn learn(
        &mut self,
        direction: Direction,
        counted: [TokenCount; SCRIPTS],
        reported: TokenCount,
    ) {
        let scales = match direction {
            Direction::Input => &mut self.input,
            Direction::Output => &mut self.output,
        };
        let sum = total(counted);
        let one = i128::from(ONE_PPM);
        let expected = counted.iter().zip(&*scales).fold(0, |sum: i128, (tokens, scale)| {
            sum.saturating_add(i128::from(*tokens).saturating_mul(scale.ratio_ppm.into()))
        });
        if expected == 0 {
            return;
        }
        let exactly = i128::from(reported).saturating_mul(one);
        let off = exactly.saturating_sub(expected).saturating_mul(one) / expected;
        for (scale, tokens) in scales.iter_mut().zip(counted) {
            if tokens.saturating_mul(SHARE_MIN) >= sum {
                scale.learn(off, i128::from(tokens).saturating_mul(one) / i128::from(sum));
            }
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    version: u16,
    models: BTreeMap<String, Correction>,
    kins: BTreeMap<String, Correction>,
    lessons: u64,
}

/// What was learnt of all models. Shared; every call takes a lock for less than a microsecond.
#[derive(Debug, Default)]
pub struct Corrections {
    table: Mutex<Table>,
}

impl Corrections {
    /// What was kept by [`Self::to_json`]; nothing learnt where that cannot be read.
    ///
    /// # Errors
    /// The JSON's defect, or that another version wrote it.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        use serde::de::Error as _;
        let table: Table = serde_json::from_slice(bytes)?;
        if table.version != VERSION {
            let found = format!("version {}, this build reads {VERSION}", table.version);
            return Err(serde_json::Error::custom(found));
        }
        Ok(Self { table: Mutex::new(table) })
    }

    /// Everything learnt, to be kept across a restart. Model names and ratios, never text.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let table = Table { version: VERSION, ..self.lock().clone() };
        serde_json::to_vec(&table)
    }

    /// How many replies it was learnt from: tells whether there is something new to keep.
    #[must_use]
    pub fn lessons(&self) -> u64 {
        self.lock().lessons
    }

    /// The ratios of `model`.
    pub(crate) fn of(&self, model: &str) -> Correction {
        let table = self.lock();
        let own = table.models.get(model).copied().unwrap_or_default();
        own.completed(&table.kins.get(&kin(model)).copied().unwrap_or_default())
    }

    /// A reply of `model` reported `reported` tokens for what counts as `counted` here.
    pub(crate) fn learn(
        &self,
        model: &str,
        direction: Direction,
        counted: [TokenCount; SCRIPTS],
        reported: TokenCount,
    ) {
        if total(counted) < TOKENS_MIN {
            // Nothing is learnt, so nothing that was learnt may give way to it.
            return;
        }
        let mut table = self.lock();
        let table = &mut *table;
        table.lessons = table.lessons.saturating_add(1);
        let kin = kin(model);
        for (known, name) in [(&mut table.models, model), (&mut table.kins, kin.as_str())] {
            if !known.contains_key(name) && known.len() >= MODELS_MAX {
                let oldest = known.iter().min_by_key(|(_, learnt)| learnt.lesson);
                if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                    known.remove(&oldest);
                }
            }
            let learnt = known.entry(name.to_owned()).or_default();
            learnt.lesson = table.lessons;
            learnt.learn(direction, counted, reported);
        }
    }

    /// A panic elsewhere leaves the table whole: every change of it is of plain numbers.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn total(counted: [TokenCount; SCRIPTS]) -> TokenCount {
    counted.iter().fold(0, |sum: TokenCount, tokens| sum.saturating_add(*tokens))
}

/// What models of one maker and line share: `claude` of `anthropic/claude-sonnet-4-5`.
fn kin(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
    let end = name.find(|c: char| !c.is_alphabetic()).unwrap_or(name.len());
    name.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_teaches_from_its_least_length_on_and_each_lesson_is_counted() {
        let corrections = Corrections::default();
        corrections.learn("m", Direction::Output, [TOKENS_MIN - 1, 0, 0, 0], 1_000);
        assert_eq!(corrections.lessons(), 0);

        corrections.learn("m", Direction::Output, [TOKENS_MIN, 0, 0, 0], 1_000);
        corrections.learn("m", Direction::Output, [0, TOKENS_MIN, 0, 0], 1_000);
        assert_eq!(corrections.lessons(), 2);
    }

    #[test]
    fn the_spread_is_how_far_replies_after_the_first_are_from_the_ratio() {
        let one = i128::from(ONE_PPM);
        let mut scale = Scale::default();

        let spreads = [300_000, 100_000, -40_000].map(|off| {
            scale.learn(off, one);
            scale.spread_ppm
        });

        assert_eq!(spreads, [0, 100_000, 70_000]);
    }
    use proptest::prelude::*;

    const CHINESE: [TokenCount; SCRIPTS] = [0, 1_000, 0, 0];

    fn taught(reports: impl IntoIterator<Item = TokenCount>) -> Corrections {
        let corrections = Corrections::default();
        for reported in reports {
            corrections.learn("m", Direction::Output, CHINESE, reported);
        }
        corrections
    }

    fn chinese(corrections: &Corrections, model: &str) -> Scale {
        corrections.of(model).output[1]
    }

    #[test]
    fn few_replies_and_short_ones_teach_nothing() {
        assert!(!chinese(&taught([800; 4]), "m").is_learnt());
        assert!(chinese(&taught([800; 5]), "m").is_learnt());

        let corrections = Corrections::default();
        for _ in 0..100 {
            corrections.learn("m", Direction::Output, [0, 63, 0, 0], 200);
        }
        assert!(!chinese(&corrections, "m").is_learnt());
    }

    #[test]
    fn one_reply_that_lies_moves_a_settled_ratio_by_little() {
        let corrections = taught([800; 40]);
        let before = chinese(&corrections, "m").ratio_ppm;

        corrections.learn("m", Direction::Output, CHINESE, 80_000);

        let after = chinese(&corrections, "m").ratio_ppm;
        assert!(before.abs_diff(800_000) < 8_000, "{before}");
        assert!(after < before + before / 100, "{before} {after}");
    }

    #[test]
    fn a_mixed_text_teaches_both_scripts_and_a_trace_of_one_teaches_nothing_of_it() {
        let corrections = Corrections::default();
        for (latin, chinese) in [(500, 500), (700, 300), (300, 700), (900, 100)].repeat(100) {
            let reported = latin + chinese * 7 / 10;
            corrections.learn("m", Direction::Output, [latin, chinese, 2, 0], reported);
        }

        let learnt = corrections.of("m").output;
        assert!(learnt[0].ratio_ppm.abs_diff(1_000_000) < 60_000, "{learnt:?}");
        assert!(learnt[1].ratio_ppm.abs_diff(700_000) < 60_000, "{learnt:?}");
        assert_eq!(learnt[2], Scale::default());
    }

    #[test]
    fn an_unknown_model_takes_what_its_kin_taught_and_a_direction_what_the_other_did() {
        let corrections = Corrections::default();
        for _ in 0..20 {
            corrections.learn("anthropic/claude-a-1", Direction::Output, CHINESE, 1_300);
        }

        assert!(chinese(&corrections, "claude-b-2").ratio_ppm > 1_250_000);
        assert!(corrections.of("claude-b-2").input[1].ratio_ppm > 1_250_000);
        assert!(!chinese(&corrections, "gemini-a-1").is_learnt());
    }

    #[test]
    fn the_model_learnt_longest_ago_makes_room() {
        let corrections = Corrections::default();
        for n in 0..=MODELS_MAX {
            let name = format!("model{n}");
            corrections.learn(&name, Direction::Output, CHINESE, 900);
        }

        let table = corrections.lock();
        assert_eq!(table.models.len(), MODELS_MAX);
        assert!(!table.models.contains_key("model0") && table.models.contains_key("model256"));
    }

    #[test]
    fn what_was_learnt_is_read_back_and_another_version_is_refused() {
        let corrections = taught([800; 40]);
        let kept = corrections.to_json().unwrap();

        let read = Corrections::from_json(&kept).unwrap();

        assert_eq!(read.of("m"), corrections.of("m"));
        let newer = String::from_utf8(kept).unwrap().replace("\"version\":1", "\"version\":2");
        let refused = Corrections::from_json(newer.as_bytes()).unwrap_err();
        assert_eq!(refused.to_string(), "version 2, this build reads 1");
    }

    proptest! {
        #[test]
        fn any_ratio_is_learnt_within_its_noise(
            ratio in 300_u64..3_000,
            noise in prop::collection::vec(-100_i64..=100, 60),
        ) {
            let off = |noise: &i64| *noise * ratio.cast_signed() / 1_000;
            let reports = noise.iter().map(|noise| ratio.saturating_add_signed(off(noise)));

            let learnt = chinese(&taught(reports), "m");

            prop_assert!(u64::from(learnt.ratio_ppm).abs_diff(ratio * 1_000) < ratio * 100, "{learnt:?}");
            prop_assert!(learnt.spread_ppm < 150_000, "{learnt:?}");
        }

        #[test]
        fn whatever_is_reported_the_ratio_stays_a_number(
            reports in prop::collection::vec(any::<u64>(), 0..200),
        ) {
            let learnt = chinese(&taught(reports), "m");

            prop_assert!(learnt.ratio_ppm > 0);
        }
    }
}
