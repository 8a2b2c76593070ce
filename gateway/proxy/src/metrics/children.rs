//! Counters of label sets that every request counts in, kept at hand: looking one up takes a lock
//! that all threads share and hashes each label.

use std::sync::OnceLock;

use permille_types::{Ended, Endpoint, Family, Source, TokenClass, TurnKind};
use prometheus::{IntCounter, IntCounterVec};

/// Endings, sources and kinds of turns (one of them not known): how many there are.
const ENDINGS: usize = 7;
const SOURCES: usize = 4;
const KINDS: usize = 6;

/// The counters of some label sets of a family of metrics, each by its place. One is looked up when
/// it is first counted in, so that no series is exported that nothing was counted in.
pub(super) struct Children(Vec<OnceLock<IntCounter>>);

impl Children {
    fn new(places: usize) -> Self {
        Self((0..places).map(|_| OnceLock::new()).collect())
    }

    fn add(&self, place: usize, by: u64, look_up: impl FnOnce() -> IntCounter) {
        match self.0.get(place) {
            Some(kept) => kept.get_or_init(look_up).inc_by(by),
            None => look_up().inc_by(by),
        }
    }
}

/// Answers with status 200, by wire family.
pub(super) struct Answered(Children);

impl Default for Answered {
    fn default() -> Self {
        Self(Children::new(Family::ALL.len()))
    }
}

impl Answered {
    pub(super) fn count(&self, all: &IntCounterVec, family: Family) {
        let look_up = || all.with_label_values(&[family.as_str(), "200"]);
        self.0.add(family as usize, 1, look_up);
    }
}

/// Settled requests, their turns and their tokens.
pub(super) struct Settled {
    ended: Children,
    turns: Children,
    tokens: Children,
}

impl Default for Settled {
    fn default() -> Self {
        let families = Family::ALL.len();
        Self {
            ended: Children::new(families * Endpoint::ALL.len() * ENDINGS),
            turns: Children::new(KINDS),
            tokens: Children::new(families * TokenClass::KNOWN.len() * SOURCES),
        }
    }
}

impl Settled {
    pub(super) fn ended(&self, all: &IntCounterVec, labels: (Family, Endpoint, Ended)) {
        let (family, endpoint, ended) = labels;
        let place = (family as usize * Endpoint::ALL.len() + endpoint as usize) * ENDINGS;
        self.ended.add(place + ended as usize, 1, || {
            all.with_label_values(&[family.as_str(), endpoint.as_str(), ended.as_str()])
        });
    }

    pub(super) fn turn(&self, all: &IntCounterVec, kind: Option<TurnKind>) {
        let place = kind.map_or(0, |kind| kind as usize + 1);
        let name = kind.map_or("unknown", TurnKind::as_str);
        self.turns.add(place, 1, || all.with_label_values(&[name]));
    }

    pub(super) fn tokens(
        &self,
        all: &IntCounterVec,
        labels: (Family, &TokenClass, Source),
        tokens: u64,
    ) {
        let (family, class, source) = labels;
        let known = TokenClass::KNOWN.iter().position(|known| known == class);
        let place = known.map_or(usize::MAX, |class_place| {
            (family as usize * TokenClass::KNOWN.len() + class_place) * SOURCES + source as usize
        });
        self.tokens.add(place, tokens, || {
            all.with_label_values(&[family.as_str(), class.as_str(), source.as_str()])
        });
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    #[test]
    fn every_label_set_has_a_place_of_its_own() {
        let settled = Settled::default();
        let vec = |labels: &[&str]| IntCounterVec::new(Opts::new("m", "h"), labels).unwrap();
        let ended = vec(&["family", "endpoint", "ended"]);
        let tokens = vec(&["family", "class", "source"]);
        let turns = vec(&["kind"]);
        let endings = [
            Ended::Complete,
            Ended::ClientGone,
            Ended::UpstreamError,
            Ended::Deadline,
            Ended::Shutdown,
            Ended::Orphaned,
            Ended::Budget,
        ];
        let sources = [Source::Reported, Source::Estimated, Source::Partial, Source::Missing];
        let kinds = [
            TurnKind::New,
            TurnKind::Continue,
            TurnKind::ToolLoop,
            TurnKind::Regenerate,
            TurnKind::Branch,
        ];
        let unknown = TokenClass::named("smell_in");
        for family in Family::ALL {
            for endpoint in Endpoint::ALL {
                for end in endings {
                    settled.ended(&ended, (*family, *endpoint, end));
                    let labels = [family.as_str(), endpoint.as_str(), end.as_str()];
                    assert_eq!(ended.with_label_values(&labels).get(), 1, "{labels:?}");
                }
            }
            for class in TokenClass::KNOWN.iter().chain([&unknown]) {
                for source in sources {
                    settled.tokens(&tokens, (*family, class, source), 7);
                    let labels = [family.as_str(), class.as_str(), source.as_str()];
                    assert_eq!(tokens.with_label_values(&labels).get(), 7, "{labels:?}");
                }
            }
        }
        for kind in kinds.map(Some).into_iter().chain([None]) {
            settled.turn(&turns, kind);
            let name = kind.map_or("unknown", TurnKind::as_str);
            assert_eq!(turns.with_label_values(&[name]).get(), 1, "{name}");
        }
    }
}
