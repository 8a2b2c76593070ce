//! The chart of a session: a bar for the cost of each turn, a line for what it adds up to. Places
//! are decimals, as the costs are.

use permille_types::Currency;
use rust_decimal::Decimal;

use super::{turns::ShownTurn, words::Words};

/// Size of the plot in the chart's own units, and its margins, in which the scales are written.
const WIDTH: u32 = 720;
const HEIGHT: u32 = 200;
const LEFT: u32 = 100;
const TOP: u32 = 24;
/// What of a turn's place its bar takes, in tenths.
const BAR_TENTHS: i64 = 8;

/// The chart, ready to be written.
pub(super) struct Chart {
    pub(super) bars: Vec<Bar>,
    /// The points of the line.
    pub(super) line: String,
    pub(super) turn_cost_max: Decimal,
    pub(super) cumulative_max: Decimal,
    pub(super) description: String,
}

/// The bar of a turn.
pub(super) struct Bar {
    pub(super) x: Decimal,
    pub(super) y: Decimal,
    pub(super) width: Decimal,
    pub(super) height: Decimal,
    pub(super) is_branched: bool,
    pub(super) label: String,
}

impl Chart {
    pub(super) fn of(turns: &[ShownTurn], currency: Currency, words: &Words) -> Self {
        let highest =
            |of: fn(&ShownTurn) -> Decimal| turns.iter().map(of).max().unwrap_or_default();
        let turn_cost_max = highest(|turn| turn.cost);
        let cumulative_max = highest(|turn| turn.cumulative);
        let step = share(Decimal::from(WIDTH), Decimal::from(turns.len()));
        let width = step.saturating_mul(Decimal::new(BAR_TENTHS, 1));
        let code = currency.code();
        let (mut bars, mut points) = (Vec::with_capacity(turns.len()), Vec::new());
        for (place, turn) in turns.iter().enumerate() {
            let at = Decimal::from(LEFT).saturating_add(step.saturating_mul(Decimal::from(place)));
            let height = height(turn.cost, turn_cost_max);
            let middle = at.saturating_add(share(width, Decimal::TWO));
            let end = from_top(self::height(turn.cumulative, cumulative_max));
            points.push(format!("{},{}", round(middle), round(end)));
            bars.push(Bar {
                x: round(at),
                y: round(from_top(height)),
                width: round(width),
                height: round(height),
                is_branched: turn.requests.iter().any(|request| request.is_branch),
                label: label(turn, code, words),
            });
        }
        let full_stop = words.stop;
        let mut description = format!(
            "{} {turn_cost_max} {code}{full_stop} {} {cumulative_max} {code}{full_stop}",
            words.chart_bars, words.chart_line
        );
        if bars.iter().any(|bar| bar.is_branched) {
            let branch = words.chart_branch;
            description = format!("{description} {branch}{full_stop}");
        }
        Self { bars, line: points.join(" "), turn_cost_max, cumulative_max, description }
    }
}

fn label(turn: &ShownTurn, code: &str, words: &Words) -> String {
    let note = turn.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
    format!(
        "{} {}: {} {code}{note}; {}: {} {code}",
        words.turn, turn.turn, turn.cost, words.cumulative, turn.cumulative
    )
}

/// How high a cost is in the plot.
fn height(cost: Decimal, highest: Decimal) -> Decimal {
    share(cost.saturating_mul(Decimal::from(HEIGHT)), highest)
}

fn from_top(height: Decimal) -> Decimal {
    Decimal::from(TOP.saturating_add(HEIGHT)).saturating_sub(height)
}

/// `part ÷ whole`; nothing of nothing.
fn share(part: Decimal, whole: Decimal) -> Decimal {
    part.checked_div(whole).unwrap_or_default()
}

/// As exact as a screen is.
fn round(place: Decimal) -> Decimal {
    place.round_dp(2).normalize()
}

#[cfg(test)]
mod tests {
    use permille_documents::Language;

    use super::*;

    fn turn(turn: u32, cost: &str, cumulative: &str) -> ShownTurn {
        let [cost, cumulative] = [cost, cumulative].map(|text| text.parse().unwrap());
        ShownTurn { turn, cost, cumulative, note: None, requests: Vec::new() }
    }

    fn chart(turns: &[ShownTurn]) -> Chart {
        let currency = Currency::from_code("CNY").unwrap();
        Chart::of(turns, currency, Words::of(Language::English))
    }

    #[test]
    fn bars_and_line_have_the_heights_of_the_costs() {
        let chart = chart(&[turn(1, "0.01", "0.01"), turn(2, "0.04", "0.05")]);

        let heights: Vec<String> = chart.bars.iter().map(|bar| bar.height.to_string()).collect();
        assert_eq!(heights, ["50", "200"]);
        assert_eq!(chart.bars[1].x.to_string(), "460");
        assert_eq!(chart.line, "244,184 604,24");
        assert_eq!(chart.bars[1].label, "Turn 2: 0.04 CNY; Cumulative cost: 0.05 CNY");
        assert!(chart.description.contains("at most 0.04 CNY"), "{}", chart.description);
    }

    #[test]
    fn a_session_that_costs_nothing_has_flat_bars() {
        let free = chart(&[turn(1, "0", "0")]);
        let empty = chart(&[]);

        assert_eq!(free.bars[0].height, Decimal::ZERO);
        assert_eq!((empty.bars.len(), empty.line.as_str()), (0, ""));
    }
}
