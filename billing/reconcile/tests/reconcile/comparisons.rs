//! Each reason, from numbers that show it and numbers that do not.

use std::collections::BTreeMap;

use permille_reconcile::{
    bill::{Bill, BillCell, CellKey},
    compare::{Comparison, OurCell, REASONS, Status, Tolerance, compare},
};
use permille_types::Currency;

use crate::decimal;

const MODEL: &str = "gpt-4o-2024-08-06";

/// A sum of the bill: day, model, class, quantity, amount; `-` is not told.
pub(crate) fn billed(day: u32, model: &str, class: &str, quantity: &str, amount: &str) -> BillCell {
    let told = |text: &str| (text != "-").then(|| decimal(text));
    BillCell {
        key: CellKey {
            day: chrono::NaiveDate::from_ymd_opt(2026, 11, day).unwrap(),
            model: (model != "-").then(|| model.to_owned()),
            class: class.to_owned(),
            project: None,
        },
        quantity: told(quantity),
        amount: told(amount),
        batch: false,
    }
}

pub(crate) fn ours(day: u32, model: &str, class: &str, quantity: u64, amount: &str) -> OurCell {
    OurCell {
        day: chrono::NaiveDate::from_ymd_opt(2026, 11, day).unwrap(),
        model: model.to_owned(),
        class: class.to_owned(),
        upstream: Some("openai".to_owned()),
        quantity,
        amount: decimal(amount),
        unpriced: 0,
        failed: 0,
        estimated: 0,
        batch: 0,
        untold: 0,
    }
}

pub(crate) fn bill(cells: Vec<BillCell>) -> Bill {
    let has_amounts = cells.iter().any(|cell| cell.amount.is_some());
    Bill {
        currency: has_amounts.then_some(Currency::USD),
        time_zone: chrono_tz::UTC,
        files: Vec::new(),
        cells,
    }
}

pub(crate) fn compared(cells: Vec<BillCell>, own: &[OurCell]) -> Vec<Comparison> {
    compare(&bill(cells), own, &BTreeMap::new(), &Tolerance::default()).unwrap()
}

/// The status and reasons of each comparison.
fn ends(compared: &[Comparison]) -> Vec<(Status, Vec<&str>)> {
    let reasons = |of: &Comparison| -> Vec<&str> {
        let known = |code: &str| REASONS.iter().find(|(name, _)| *name == code).unwrap().0;
        of.reasons.iter().map(|reason| known(&reason.code)).collect()
    };
    compared.iter().map(|of| (of.status, reasons(of))).collect()
}

/// One comparison, as it ends.
fn one(cell: BillCell, own: OurCell) -> (Status, Vec<&'static str>) {
    let compared = compared(vec![cell], &[own]);
    let ends = ends(&compared);
    assert_eq!(ends.len(), 1, "{compared:?}");
    let known = |code: &&str| REASONS.iter().find(|(name, _)| name == code).unwrap().0;
    (ends[0].0, ends[0].1.iter().map(known).collect())
}

#[test]
fn what_agrees_to_a_cent_is_matched_and_says_where_it_was_rounded() {
    let cell = |amount| billed(5, MODEL, "output", "1000", amount);
    let own = || ours(5, MODEL, "output_text", 1_000, "10");

    assert_eq!(one(cell("10"), own()), (Status::Matched, vec![]));
    assert_eq!(one(cell("10.01"), own()), (Status::Matched, vec!["rounding"]));
    assert_eq!(one(cell("10.02"), own()), (Status::Different, vec!["price_difference"]));
    let large = billed(5, MODEL, "output", "-", "10009.99");
    let own = ours(5, MODEL, "output_text", 1, "10000");
    assert_eq!(one(large, own).0, Status::Matched, "a thousandth of a large amount");
}

#[test]
fn text_and_reasoning_are_the_output_of_a_bill_and_every_class_is_compared_once() {
    let own = [
        ours(5, MODEL, "output_text", 600, "6"),
        ours(5, MODEL, "reasoning", 400, "4"),
        ours(5, MODEL, "cache_read", 100, "1"),
        ours(5, MODEL, "cache_read_explicit", 10, "0.1"),
        ours(5, MODEL, "input_uncached", 50, "5"),
        ours(5, MODEL, "requests", 3, "0"),
    ];

    let fine = compared(
        vec![
            billed(5, MODEL, "output", "1000", "10"),
            billed(5, MODEL, "cache_read", "110", "1.1"),
            billed(5, MODEL, "input_uncached", "50", "5"),
        ],
        &own,
    );
    let coarse = compared(vec![billed(5, "-", "tokens", "-", "16.1")], &own);

    assert_eq!(ends(&fine), vec![(Status::Matched, vec![]); 3]);
    assert_eq!(ends(&coarse), [(Status::Matched, vec![])]);
    assert_eq!(coarse[0].ours.quantity, Some(decimal("1160")));
}

#[test]
fn work_at_midnight_is_on_another_day_and_is_taken_back_by_it() {
    let cells = vec![
        billed(5, MODEL, "output", "900", "9"),
        billed(6, MODEL, "output", "1100", "11"),
        billed(8, MODEL, "output", "1000", "10"),
    ];
    let own = [
        ours(5, MODEL, "output_text", 1_000, "10"),
        ours(6, MODEL, "output_text", 1_000, "10"),
        ours(8, MODEL, "output_text", 900, "9"),
    ];

    let compared = compared(cells, &own);

    let first: Vec<&str> = compared.iter().map(|of| of.reasons[0].code.as_str()).collect();
    assert_eq!(first, ["day_edge", "day_edge", "quantity_difference"]);
}

#[test]
fn a_cached_prompt_that_is_billed_as_input_is_a_question_of_classes() {
    let compared = compared(
        vec![billed(5, MODEL, "input_uncached", "1500", "15")],
        &[ours(5, MODEL, "input_uncached", 500, "5"), ours(5, MODEL, "cache_read", 1_000, "1")],
    );

    assert_eq!(compared.len(), 2);
    assert!(compared.iter().all(|of| of.reasons[0].code == "class_mapping"), "{compared:?}");
    let sum: rust_decimal::Decimal = compared.iter().filter_map(|of| of.difference).sum();
    assert_eq!(sum, decimal("9"));
}

#[test]
fn units_that_are_taken_for_each_other_are_found_by_their_factor() {
    for (quantity, amount, reasons) in [
        ("1", "10", vec!["unit_trap", "quantity_difference"]),
        ("1000", "0.01", vec!["unit_trap", "price_difference"]),
        ("1000", "1000", vec!["unit_trap", "price_difference"]),
        ("1000000", "10", vec!["unit_trap", "quantity_difference"]),
    ] {
        let cell = billed(5, MODEL, "output", quantity, amount);
        let (status, found) = one(cell, ours(5, MODEL, "output_text", 1_000, "10"));
        // A count alone that is misread is no difference of money.
        if amount == "10" {
            assert_eq!((status, found), (Status::Matched, vec![]));
        } else {
            assert_eq!((status, found), (Status::Different, reasons));
        }
    }
}

#[test]
fn batches_failures_estimates_and_missing_prices_are_told_by_the_rows() {
    let cell = |quantity, amount| billed(5, MODEL, "output", quantity, amount);
    let own = |quantity, amount| ours(5, MODEL, "output_text", quantity, amount);
    let batch = OurCell { batch: 1_000, ..own(1_000, "10") };
    let failed = OurCell { failed: 200, ..own(1_000, "10") };
    let untold = OurCell { untold: 3, ..own(1_000, "10") };
    let estimated = OurCell { estimated: 100, ..own(1_000, "10") };
    let unpriced = OurCell { unpriced: 1_000, ..own(1_000, "0") };

    for (billed, ours, reasons) in [
        (cell("1000", "5"), batch, vec!["batch_discount", "price_difference"]),
        (cell("800", "8"), failed, vec!["failed_calls_not_billed"]),
        (cell("1200", "12"), untold, vec!["failed_calls_billed"]),
        (cell("1050", "10.5"), estimated.clone(), vec!["estimated_rows"]),
        (cell("1200", "12"), estimated, vec!["quantity_difference"]),
        (cell("1000", "10"), unpriced, vec!["no_cost_price", "price_difference"]),
        (cell("-", "12"), own(1_000, "10"), vec!["unexplained"]),
    ] {
        assert_eq!(one(billed, ours), (Status::Different, reasons));
    }
    let alone = OurCell { failed: 200, ..own(1_000, "10") };
    assert_eq!(one(cell("-", "8"), alone).1, ["failed_calls_not_billed"]);
}

#[test]
fn what_one_side_alone_has_says_why() {
    let cells = vec![
        billed(5, MODEL, "output", "-", "10"),
        billed(5, MODEL, "input_uncached", "-", "3"),
        billed(5, "gpt-9", "output", "-", "10"),
        billed(5, "-", "other: Vector store storage", "-", "1"),
    ];
    let own = [
        ours(5, MODEL, "output_text", 1_000, "10"),
        ours(5, "gpt-4o-mini", "output_text", 1_000, "4"),
        OurCell { failed: 7, ..ours(5, "o3", "output_text", 7, "1") },
        OurCell { estimated: 7, ..ours(5, "o4", "output_text", 7, "1") },
        OurCell { unpriced: 7, ..ours(5, "o5", "output_text", 7, "0") },
    ];

    let compared = compared(cells, &own);

    let found: Vec<String> = compared
        .iter()
        .map(|of| {
            let model = of.key.model.as_deref().unwrap_or("-");
            let reason = of.reasons.first().map_or("", |reason| reason.code.as_str());
            format!("{model} {:?} {reason}", of.status)
        })
        .collect();
    assert_eq!(
        found,
        [
            "- OnlyBilled not_usage",
            "gpt-4o-2024-08-06 OnlyBilled not_metered",
            "gpt-4o-2024-08-06 Matched ",
            "gpt-4o-mini OnlyOurs model_not_billed",
            "gpt-9 OnlyBilled unknown_model",
            "o3 OnlyOurs failed_calls_not_billed",
            "o4 OnlyOurs estimated_rows",
            "o5 OnlyOurs no_cost_price",
        ]
    );
}

#[test]
fn a_small_charge_that_nothing_of_ours_stands_against_is_no_rounding() {
    let cells = vec![
        billed(5, MODEL, "output", "-", "0.009"),
        billed(6, MODEL, "output", "-", "0.009"),
        billed(7, "gpt-9", "output", "-", "0"),
    ];
    let own =
        [ours(6, MODEL, "output_text", 1, "0.001"), ours(8, MODEL, "output_text", 1, "0.009")];

    let compared = compared(cells, &own);

    let of_day = |number: u32| {
        use chrono::Datelike;
        let found = compared.iter().find(|of| of.key.day.day() == number).unwrap();
        (found.status, found.reasons.first().map_or("", |reason| reason.code.as_str()))
    };
    assert_eq!(of_day(5), (Status::OnlyBilled, "not_metered"));
    // A provider may round what is small to nothing, and an amount of nothing bills nothing.
    assert_eq!(of_day(6), (Status::Matched, "rounding"));
    assert_eq!(of_day(7).0, Status::Matched);
    assert_eq!(of_day(8), (Status::Matched, "rounding"));
}

#[test]
fn usage_exports_are_compared_by_count_and_projects_by_their_upstreams() {
    let counts = compared(
        vec![billed(5, MODEL, "output", "1000", "-")],
        &[ours(5, MODEL, "output_text", 999, "0")],
    );
    assert_eq!(counts[0].status, Status::Different);
    assert_eq!((counts[0].difference, counts[0].quantity_difference), (None, Some(decimal("1"))));

    let mut cells = Vec::new();
    for (project, amount) in [("proj_a", "10"), ("proj_b", "20")] {
        let mut cell = billed(5, MODEL, "output", "-", amount);
        cell.key.project = Some(project.to_owned());
        cells.push(cell);
    }
    let own = |upstream: &str, amount| OurCell {
        upstream: Some(upstream.to_owned()),
        ..ours(5, MODEL, "output_text", 1_000, amount)
    };
    let sides = [own("eu", "10"), own("us", "20")];
    let projects = [("proj_a", "eu"), ("proj_b", "us")];
    let projects = projects.map(|(project, upstream)| (project.to_owned(), upstream.to_owned()));
    let by_project =
        compare(&bill(cells.clone()), &sides, &projects.into(), &Tolerance::default()).unwrap();
    let together = compared(cells, &sides);

    assert_eq!(ends(&by_project), vec![(Status::Matched, vec![]); 2]);
    assert_eq!(ends(&together), [(Status::Matched, vec![])]);
}
