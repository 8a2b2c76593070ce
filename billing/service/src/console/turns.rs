//! The turns of a session as the page shows them: each with its requests, none merged into
//! another. A turn may have several: regenerations, retries, branches.

use std::collections::BTreeMap;

use permille_ledger::{Turn, UsageRow};
use permille_rating::facts;
use permille_types::TurnKind;
use rust_decimal::Decimal;

use super::words::Words;

/// A turn and those of its requests that are shown.
pub(super) struct ShownTurn {
    pub(super) turn: u32,
    pub(super) cost: Decimal,
    pub(super) cumulative: Decimal,
    /// That some of its requests have no price.
    pub(super) note: Option<String>,
    pub(super) requests: Vec<ShownRequest>,
}

/// A request of a turn. What is not known is no zero.
pub(super) struct ShownRequest {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) is_branch: bool,
    pub(super) model: String,
    pub(super) input: String,
    pub(super) resent: String,
    pub(super) cached: String,
    pub(super) output: String,
    pub(super) cost: String,
    pub(super) first_token_ms: String,
    pub(super) duration_ms: u64,
    pub(super) ended: &'static str,
    pub(super) is_complete: bool,
}

/// What stands where nothing is known.
const ABSENT: &str = "–";

/// Those of `turns` that have one of `rows`, which come newest first.
pub(super) fn shown_turns(turns: Vec<Turn>, rows: Vec<UsageRow>, words: &Words) -> Vec<ShownTurn> {
    let mut by_turn: BTreeMap<u32, Vec<ShownRequest>> = BTreeMap::new();
    for row in rows.into_iter().rev() {
        by_turn.entry(row.turn).or_default().push(ShownRequest::of(row, words));
    }
    turns
        .into_iter()
        .filter_map(|turn| {
            Some(ShownTurn {
                requests: by_turn.remove(&turn.turn)?,
                note: noted(turn.unpriced_requests, words.unpriced),
                turn: turn.turn,
                cost: turn.cost.normalize(),
                cumulative: turn.cumulative_cost.normalize(),
            })
        })
        .collect()
}

impl ShownRequest {
    fn of(row: UsageRow, words: &Words) -> Self {
        let told = row.input_total.is_some();
        Self {
            id: row.request_id.to_string(),
            kind: words.turn_kind(row.turn_kind),
            is_branch: row.turn_kind == Some(TurnKind::Branch),
            model: row.model_served.unwrap_or(row.model_requested).to_string(),
            input: or_absent(row.input_total),
            resent: or_absent(row.resent_tokens),
            cached: or_absent(told.then(|| facts::cached(&row.tokens))),
            output: or_absent(row.output_total),
            cost: row.cost.unwrap_or_else(|| words.not_priced.to_owned()),
            first_token_ms: or_absent(row.first_token_ms),
            duration_ms: row.latency_ms,
            ended: words.ending(row.ended),
            is_complete: row.ended == permille_types::Ended::Complete,
        }
    }
}

/// How many requests are so, where any is.
pub(super) fn noted(count: u64, what: &str) -> Option<String> {
    (count > 0).then(|| format!("{what}: {count}"))
}

fn or_absent(value: Option<u64>) -> String {
    value.map_or_else(|| ABSENT.to_owned(), |value| value.to_string())
}
