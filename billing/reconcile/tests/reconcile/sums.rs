//! Reports: their parts add up, and they read as they were written.

use std::collections::BTreeMap;

use permille_reconcile::{
    compare::{OurCell, Tolerance, compare},
    report::{Parts, Report, RunBy, Scope, Signed, Sums, csv, html, paper, text},
};
use proptest::{collection::btree_map, prelude::*};
use rust_decimal::Decimal;

use crate::comparisons::{bill, billed, ours};

fn report(cells: Vec<permille_reconcile::bill::BillCell>, own: &[OurCell]) -> Report {
    let bill = bill(cells);
    let tolerance = Tolerance::default();
    let comparisons = compare(&bill, own, &BTreeMap::new(), &tolerance).unwrap();
    Report::new(Parts {
        id: "rec_1".to_owned(),
        at: "2026-12-01T08:00:00Z".parse().unwrap(),
        by: RunBy { token: "tok_1".to_owned(), role: "finance".to_owned(), name: None },
        scope: Scope {
            provider: "openai".to_owned(),
            upstreams: vec!["openai".to_owned()],
            projects: BTreeMap::new(),
            tolerance,
        },
        bill,
        comparisons,
    })
    .unwrap()
}

#[test]
fn a_report_is_read_as_text_as_a_table_and_as_a_page_that_is_signed() {
    let report = report(
        vec![billed(5, "=cmd", "output", "1000", "10"), billed(6, "m", "output", "1000", "12")],
        &[ours(5, "=cmd", "output_text", 1_000, "5"), ours(6, "m", "output_text", 1_000, "12")],
    );
    let signed = Signed {
        by: "Ada <finance>".to_owned(),
        at: "2026-12-02 08:00:00Z".to_owned(),
        note: "price agreed".to_owned(),
    };

    let shown = text(&report, None);
    let table = csv(&report).unwrap();
    let page = html(&report, Some(&signed)).unwrap();

    for words in [
        "signed     no",
        "total (USD): billed 22, ours 17, difference 5",
        "drift: 227.273 ‰ of the bill",
        "price_difference",
        "2026-11-05 =cmd output: different 5 (billed 10, ours 5)",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[1].starts_with("2026-11-05,'=cmd,output,,different,1000,1000,0,10,5,5,USD,"));
    assert!(
        page.contains("Ada &#60;finance&#62;") || page.contains("Ada &lt;finance&gt;"),
        "{page}"
    );
    assert!(page.contains("price agreed") && !page.contains("class=\"sign\""), "{page}");
    let again: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(again, report);
}

/// What is left of a paper once its layout is gone.
fn texts(report: &Report, signed: Option<&Signed>) -> Vec<String> {
    let paper = paper(report, signed);
    let facts = paper.facts.into_iter().map(|(label, told)| format!("{label} {told}"));
    let sections = paper.sections.into_iter().flat_map(|section| {
        let rows = section.rows.into_iter().map(|row| row.join(" "));
        rows.chain(section.texts).collect::<Vec<_>>()
    });
    facts.chain(sections).chain(paper.signed).collect()
}

#[test]
fn every_figure_of_the_json_stands_on_the_paper_that_finance_signs() {
    let report = report(
        vec![
            billed(5, "gpt-4o", "output", "1000", "10.5"),
            billed(6, "m", "output", "777", "12.25"),
            billed(7, "lost", "output", "31", "0.125"),
        ],
        &[ours(5, "gpt-4o", "output_text", 1_000, "5"), ours(6, "m", "output_text", 777, "12.25")],
    );
    let signed = Signed {
        by: "Ada (finance)".to_owned(),
        at: "2026-12-02 08:00:00Z".to_owned(),
        note: "price agreed".to_owned(),
    };

    let said = texts(&report, Some(&signed)).join("\n");

    let json = serde_json::to_value(&report).unwrap();
    let sums = |of: &serde_json::Value, name: &str| {
        let figure = |text: &serde_json::Value| {
            let text = text["amount"].as_str();
            text.map_or("-".to_owned(), |text| crate::decimal(text).normalize().to_string())
        };
        let difference = crate::decimal(of["difference"].as_str().unwrap()).normalize();
        let (billed, ours) = (figure(&of["billed"]), figure(&of["ours"]));
        format!("{name} {} {billed} {ours} {difference}", of["comparisons"])
    };
    let mut rows = vec![sums(&json["total"], "total")];
    for of in json["models"].as_array().unwrap() {
        rows.push(sums(&of["sums"], of["model"].as_str().unwrap()));
    }
    for of in json["statuses"].as_array().unwrap() {
        rows.push(sums(&of["sums"], &of["status"].as_str().unwrap().replace('_', " ")));
    }
    for of in json["differences"].as_array().unwrap() {
        rows.push(crate::decimal(of["difference"].as_str().unwrap()).normalize().to_string());
        for reason in of["reasons"].as_array().unwrap() {
            rows.push(reason["code"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(json["models"].as_array().unwrap().len(), 3);
    for row in rows {
        assert!(said.contains(&row), "{row}: {said}");
    }
    for told in ["openai", "2026-11-05 to 2026-11-07", "by Ada (finance): price agreed", "‰ of"] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(!said.contains("signed no"), "{said}");
}

proptest! {
    #[test]
    fn statuses_reasons_and_models_each_add_up_to_both_totals(
        theirs in btree_map((1_u32..5, 0_usize..3, 0_usize..3), 0_i64..5_000, 1..30),
        own in btree_map((1_u32..5, 0_usize..3, 0_usize..4), 0_i64..5_000, 0..30),
    ) {
        let models = ["gpt-4o", "gpt-4o-mini", "o3-2025-04-16"];
        let classes = ["input_uncached", "cache_read", "output"];
        let own_models = ["gpt-4o", "o3", "elsewhere"];
        let own_classes = ["input_uncached", "cache_read", "output_text", "reasoning"];
        let amount = |cents: i64| Decimal::new(cents, 3);
        let cells: Vec<_> = theirs
            .iter()
            .map(|((day, model, class), cents)| {
                let text = amount(*cents).to_string();
                billed(*day, models[*model], classes[*class], "-", &text)
            })
            .collect();
        let sides: Vec<_> = own
            .iter()
            .map(|((day, model, class), cents)| {
                let count = u64::try_from(*cents).unwrap();
                let text = amount(*cents).to_string();
                ours(*day, own_models[*model], own_classes[*class], count, &text)
            })
            .collect();
        let all = theirs.values().map(|cents| amount(*cents)).sum::<Decimal>();
        let mine = own.values().map(|cents| amount(*cents)).sum::<Decimal>();

        let report = report(cells, &sides);

        let total = (report.total.billed.amount, report.total.ours.amount);
        prop_assert_eq!(total.0.unwrap_or_default(), all.normalize());
        prop_assert_eq!(total.1.unwrap_or_default(), mine.normalize());
        prop_assert_eq!(report.total.difference, (all - mine).normalize());
        let parts: [Vec<&Sums>; 3] = [
            report.statuses.iter().map(|of| &of.sums).collect(),
            report.reasons.iter().map(|of| &of.sums).collect(),
            report.models.iter().map(|of| &of.sums).collect(),
        ];
        for part in parts {
            let sum = |of: fn(&Sums) -> Decimal| part.iter().map(|sums| of(sums)).sum::<Decimal>();
            prop_assert_eq!(sum(|sums| sums.billed.amount.unwrap_or_default()), all);
            prop_assert_eq!(sum(|sums| sums.ours.amount.unwrap_or_default()), mine);
            prop_assert_eq!(sum(|sums| sums.difference), all - mine);
            let count: u64 = part.iter().map(|sums| sums.comparisons).sum();
            prop_assert_eq!(count, report.total.comparisons);
        }
    }
}
