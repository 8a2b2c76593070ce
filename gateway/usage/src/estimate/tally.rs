//! Counted text, and what an estimate makes of it.

use permille_types::TokenCount;

use super::{corrections::Scale, script::SCRIPTS};

/// How far off a count by the model's own vocabulary may be, in thousandths.
const OWN_PERMILLE: TokenCount = 20;
/// How far off a count by a vocabulary that stands in may be, by script, in thousandths: the worst
/// of those that were measured (`tests/usage/accuracy.rs`). Of other scripts none was.
const STAND_IN_PERMILLE: [TokenCount; SCRIPTS] = [200, 500, 2_000, 2_000];
/// How far off what was not counted but extrapolated may be, in thousandths: code has a third more
/// tokens than prose of the same length.
const EXTRAPOLATED_PERMILLE: TokenCount = 350;
/// How far off tokens that frame messages may be, in thousandths: templates differ by as much.
const FRAMING_PERMILLE: TokenCount = 1_000;
/// Spreads that make an error bound.
const SPREADS: TokenCount = 3;
/// The least that a learnt ratio may be off, in thousandths: between texts of one script and model
/// it was seen to differ by 5 %.
const LEARNT_PERMILLE_MIN: TokenCount = 60;

/// Tokens of a text as they were counted, by script; all of them first where the vocabulary is the
/// model's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) tokens: [TokenCount; SCRIPTS],
    /// Length of the text.
    pub(crate) bytes: u64,
}

impl Tally {
    /// This and `other`.
    pub(crate) fn and(mut self, other: Self) -> Self {
        for (tokens, more) in self.tokens.iter_mut().zip(other.tokens) {
            *tokens = tokens.saturating_add(more);
        }
        self.bytes = self.bytes.saturating_add(other.bytes);
        self
    }

    /// Tokens of all scripts.
    pub(crate) fn total(self) -> TokenCount {
        self.tokens.into_iter().fold(0, TokenCount::saturating_add)
    }

    /// What was counted, for a text of `bytes`.
    pub(crate) fn extrapolated(self, bytes: u64) -> TokenCount {
        scaled(self.total(), bytes.max(self.bytes), self.bytes.max(1))
    }
}

/// Estimated tokens and how far off they may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub(crate) tokens: TokenCount,
    /// By how many thousandths of a token each of them may be off, added up.
    off: u128,
    /// Whether a learnt ratio is in it.
    pub(crate) is_corrected: bool,
}

impl Estimate {
    /// Tokens that frame messages, pictures and the like.
    pub(crate) fn framing(tokens: TokenCount) -> Self {
        Self::of(tokens, FRAMING_PERMILLE)
    }

    /// Tokens that came as such.
    pub(crate) fn exact(tokens: TokenCount) -> Self {
        Self::of(tokens, 0)
    }

    fn of(tokens: TokenCount, permille: TokenCount) -> Self {
        let off = u128::from(tokens).saturating_mul(permille.into());
        Self { tokens, off, is_corrected: false }
    }

    /// Tokens of a text of `bytes`, of which `tally` was counted.
    pub(crate) fn text(tally: Tally, bytes: u64, is_own: bool, scales: &[Scale; SCRIPTS]) -> Self {
        let mut all = Self::default();
        let scripts = tally.tokens.into_iter().zip(scales).zip(STAND_IN_PERMILLE);
        for ((counted, scale), most) in scripts {
            let part = if is_own {
                Self::of(counted, OWN_PERMILLE)
            } else if counted > 0 && scale.is_learnt() {
                let off = u64::from(scale.spread_ppm).div_ceil(1_000).saturating_mul(SPREADS);
                let tokens = scaled(counted, scale.ratio_ppm.into(), 1_000_000);
                let learnt = Self::of(tokens, off.clamp(LEARNT_PERMILLE_MIN, most));
                Self { is_corrected: true, ..learnt }
            } else {
                Self::of(counted, most)
            };
            all = all.and(part);
        }
        let beyond = bytes.saturating_sub(tally.bytes);
        let more = scaled(all.tokens, beyond, tally.bytes.max(1));
        let error = EXTRAPOLATED_PERMILLE.max(all.permille().into());
        all.and(Self::of(more, error))
    }

    /// This and `other`.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            off: self.off.saturating_add(other.off),
            is_corrected: self.is_corrected || other.is_corrected,
        }
    }

    /// How far off all of it may be, in thousandths of itself.
    pub(crate) fn permille(self) -> u32 {
        let off = self.off.div_ceil(u128::from(self.tokens.max(1)));
        u32::try_from(off).unwrap_or(u32::MAX)
    }
}

/// `count` × `up` ÷ `down`, rounded up.
fn scaled(count: TokenCount, up: u64, down: u64) -> TokenCount {
    let scaled = u128::from(count).saturating_mul(up.into()).div_ceil(u128::from(down.max(1)));
    TokenCount::try_from(scaled).unwrap_or(TokenCount::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTED: Tally = Tally { tokens: [0, 100, 0, 0], bytes: 300 };

    fn learnt(ratio_ppm: u32, spread_ppm: u32) -> [Scale; SCRIPTS] {
        [Scale { ratio_ppm, spread_ppm, samples: 50 }; SCRIPTS]
    }

    #[track_caller]
    fn check(estimate: Estimate, tokens: TokenCount, permille: u32, is_corrected: bool) {
        let found = (estimate.tokens, estimate.permille(), estimate.is_corrected);
        assert_eq!(found, (tokens, permille, is_corrected));
    }

    #[test]
    fn an_estimate_says_how_far_off_it_may_be() {
        let unlearnt = [Scale::default(); SCRIPTS];
        check(Estimate::text(COUNTED, 300, true, &unlearnt), 100, 20, false);
        check(Estimate::text(COUNTED, 300, false, &unlearnt), 100, 500, false);
        check(Estimate::text(COUNTED, 300, false, &learnt(800_000, 30_000)), 80, 90, true);
        check(Estimate::text(COUNTED, 300, false, &learnt(800_000, 1)), 80, 60, true);
        check(Estimate::text(COUNTED, 300, false, &learnt(800_000, 900_000)), 80, 500, true);
        // Ratios are learnt of vocabularies that stand in.
        check(Estimate::text(COUNTED, 300, true, &learnt(800_000, 1)), 100, 20, false);
    }

    #[test]
    fn what_was_not_counted_is_extrapolated_and_less_certain() {
        let unlearnt = [Scale::default(); SCRIPTS];
        check(Estimate::text(COUNTED, 600, true, &unlearnt), 200, 185, false);
        check(Estimate::text(Tally::default(), 600, true, &unlearnt), 0, 0, false);
    }

    #[test]
    fn parts_are_weighed_by_their_tokens() {
        check(Estimate::exact(300).and(Estimate::framing(100)), 400, 250, false);
        check(Estimate::default(), 0, 0, false);
    }
}
