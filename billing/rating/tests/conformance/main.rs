//! Worked examples of other billing systems, as one table: the row of the collection that they are
//! from, the setting under which ours gives the same, and the numbers. Rows that it cannot express
//! are in `docs/rating.md`, and a test here keeps that list complete.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

mod support;

use std::collections::BTreeSet;

use permille_rating::allocate::allocate;
use permille_rating::grant::GrantOrder;
use permille_rating::invoice::PartPlan;
use permille_rating::plan::CreditTaken;
use permille_rating::round::round_money;
use permille_types::Currency;

use support::{
    CENTS, after_interim, amounts, bill, book, change, charge, charge_lines, charged, cost,
    cost_rows, credited, decimal, document, each, exact, last_days, late, lines, month, order,
    plan, planned, sums, taxed, threshold, tiered,
};

/// Rows, setting, what is expected, what comes out.
type Case = (&'static [u32], &'static str, &'static str, String);

const STRIPE: &str =
    "{ up_to = \"5\", unit = \"7\" }, { up_to = \"10\", unit = \"6.5\" }, { unit = \"6\" }";
const FLATS: &str = "{ up_to = \"5\", flat = \"100\" }, { up_to = \"10\", flat = \"50\" }, \
                     { up_to = \"15\", unit = \"5\" }, { unit = \"1\" }";

fn packages() -> Vec<Case> {
    let package = |more: &str| charge(&format!("kind = \"package\"\n{more}"));
    let fifteen = "size = \"10\"\nunit = \"15\"";
    vec![
        (
            &[7],
            "kind = package, free",
            "10",
            charged(&package("size = \"100\"\nunit = \"5\"\nfree = \"100\""), 201),
        ),
        (&[8], "kind = package", "1300", charged(&package("size = \"10\"\nunit = \"100\""), 121)),
        (
            &[9],
            "kind = package, free = 10",
            "1200",
            charged(&package("size = \"10\"\nunit = \"100\"\nfree = \"10\""), 121),
        ),
        (
            &[10],
            "kind = package, free = 200",
            "0",
            charged(&package("size = \"10\"\nunit = \"100\"\nfree = \"200\""), 121),
        ),
        (&[12], "kind = package, no usage: no line", "", charge_lines(&package(fifteen), 0)),
        (
            &[13],
            "kind = package, minimum, no usage",
            "charge 100.00",
            charge_lines(&package(&format!("{fifteen}\nminimum = \"100\"")), 0),
        ),
        (
            &[14],
            "packages are begun over the month; late usage pays the difference",
            "15",
            late(&package(fifteen), 17, 5),
        ),
    ]
}

fn units() -> Vec<Case> {
    let unit = |unit: &str| charge(&format!("kind = \"unit\"\nunit = \"{unit}\""));
    vec![
        (
            &[34],
            "a share of an amount as a price for one, before rounding",
            "0.116",
            exact(&unit("0.029"), 4),
        ),
        (&[41], "a price for one", "150", charged(&unit("0.5"), 300)),
        (&[73], "half away from zero, once", "3.69", charged(&unit("0.067"), 55)),
        (
            &[74],
            "rounded once a month, never for a record",
            "33.18",
            charged(&unit("0.0000128"), 2_592_000),
        ),
        (&[80], "half away from zero, once", "8121.88", charged(&unit("15.619"), 520)),
    ]
}

fn tiers() -> Vec<Case> {
    let flat = "{ up_to = \"10\", unit = \"10\", flat = \"2\" }, \
                { up_to = \"20\", unit = \"5\", flat = \"3\" }, { unit = \"5\", flat = \"3\" }";
    let lago = "{ up_to = \"100\", unit = \"1\" }, { up_to = \"200\", unit = \"0.5\" }, \
                { unit = \"0.1\" }";
    let meteroid = lago.replace("0.1\"", "0.25\"");
    let zuplo = "{ up_to = \"1000\", unit = \"0.10\" }, { up_to = \"10000\", unit = \"0.05\" }, \
                 { unit = \"0.01\" }";
    // Blocks of ten minutes at 1, later at 0.5.
    let minutes = "{ up_to = \"1000\", unit = \"0.1\" }, { unit = \"0.05\" }";
    let megabytes = "{ up_to = \"1024\", unit = \"0.5\" }, { unit = \"0.1\" }";
    let both = |kind| {
        let sum = decimal(&charged(&tiered(kind, minutes), 1_500))
            + decimal(&charged(&tiered(kind, megabytes), 2_048));
        sum.normalize().to_string()
    };
    let discount = "{ up_to = \"10\", unit = \"0\" }, { unit = \"1\" }";
    let least = format!("kind = \"graduated\"\nminimum = \"1000\"\ntiers = [ {FLATS} ]");
    let least = charge(&least);
    vec![
        (
            &[1],
            "kind = volume",
            "7; 35; 39; 120; 150",
            each(&tiered("volume", STRIPE), &[1, 5, 6, 20, 25]),
        ),
        (
            &[2, 3],
            "kind = graduated",
            "35; 41.5; 127.5; 157.5",
            each(&tiered("graduated", STRIPE), &[5, 6, 20, 25]),
        ),
        (
            &[15],
            "flat once a tier is reached, the first at 0",
            "2; 12; 102; 110; 115; 163",
            each(&tiered("graduated", flat), &[0, 1, 10, 11, 12, 21]),
        ),
        (&[16], "kind = graduated", "155", charged(&tiered("graduated", lago), 250)),
        (&[22], "tiers of a flat amount", "182", charged(&tiered("graduated", FLATS), 22)),
        (&[23], "late usage pays the difference", "22", late(&tiered("graduated", FLATS), 12, 10)),
        (
            &[24],
            "minimum of a charge, owed by the month's invoice after an interim one; no usage since",
            "100; charge 900.00",
            after_interim(&least, 5),
        ),
        (
            &[27],
            "a first tier at 0; late usage pays the difference",
            "10",
            late(&tiered("graduated", discount), 5, 15),
        ),
        (&[28], "a block's price per minute, kind = graduated", "739.4", both("graduated")),
        (&[29], "a block's price per minute, kind = volume", "279.8", both("volume")),
        (
            &[35],
            "minimum of a charge",
            "100",
            charged(&charge("kind = \"unit\"\nunit = \"1\"\nminimum = \"100\""), 50),
        ),
        (&[60], "kind = graduated", "125", charged(&tiered("graduated", &meteroid), 150)),
        (&[84], "kind = graduated", "600", charged(&tiered("graduated", zuplo), 15_000)),
        (&[84], "kind = volume", "150", charged(&tiered("volume", zuplo), 15_000)),
    ]
}

fn plans() -> Vec<Case> {
    let minimum = |terms: &str| plan("metered", terms);
    let feb = planned(minimum("minimum = \"10\""), "2026-02", 0, 25, 8);
    let feb = document(feb, &["20"], CreditTaken::AfterTax, &[]);
    let fee = planned(plan("subscription", "fee = \"160\""), "2026-11", 1, 30, 0);
    let included = |dollars: u64, cents: u64| {
        let plan = plan("subscription", "fee = \"10\"\n[plan.allowance]\namount = \"10\"");
        let mut month = month("2026-11", Vec::new());
        let book = book(CENTS);
        let used = sums(&book, &[("input_uncached", dollars * 100 + cents)]);
        let part = month.parts.first_mut().unwrap();
        (part.all, part.left) = (used.clone(), used);
        part.plan = Some(PartPlan { plan, is_trial: false });
        bill(&month, &book).lines.first().unwrap().amount.to_string()
    };
    vec![
        (
            &[35],
            "minimum of a plan",
            "input_uncached 50.00; minimum 50.00",
            lines(&planned(minimum("minimum = \"100\""), "2026-11", 0, 30, 50)),
        ),
        (
            &[36],
            "minimum of a plan that ends on day 25 of 28, prorated to the second, taxed like usage",
            "8.93; 1.79; 10.72",
            taxed(&feb),
        ),
        (
            &[36],
            "a credit note of 5.36 before tax: what it gives back, what is left to be paid",
            "6.43; 4.29",
            credited(&feb, "5.36"),
        ),
        (
            &[37],
            "minimum of a plan: fee and usage count",
            "input_uncached 10.00; fee 100.00; minimum 9890.00",
            lines(&planned(
                plan("subscription", "fee = \"100\"\nminimum = \"10000\""),
                "2026-11",
                0,
                30,
                10,
            )),
        ),
        (
            &[39],
            "threshold of a plan: the interim invoice, all fees of the month, the month's invoice",
            "200.00; 431.00; 231.00",
            threshold(&plan("subscription", "fee = \"31\"\nthreshold = \"200\""), 200, 400),
        ),
        (
            &[51],
            "fee of a plan from the second day on",
            "154.67; 38.67; 193.34",
            taxed(&document(fee, &["25"], CreditTaken::AfterTax, &[])),
        ),
        (
            &[54],
            "proration to the second",
            "-5.00 +10.00 = 5.00",
            change("10", "20", 15, "2026-11"),
        ),
        (
            &[55],
            "proration to the second, up",
            "-4.83 +19.33 = 14.50",
            change("5", "20", 29, "2026-11"),
        ),
        (
            &[55],
            "proration to the second, down",
            "-19.33 +4.83 = -14.50",
            change("20", "5", 29, "2026-11"),
        ),
        (
            &[56],
            "each part is rounded",
            "-33.33 +66.67 = 33.34",
            change("50", "100", 20, "2026-11"),
        ),
        (
            &[58],
            "proration to the second; 20 was invoiced before",
            "7.10",
            (last_days("40", 21, "2026-05") - decimal("20")).to_string(),
        ),
        (
            &[59],
            "proration to the second",
            "-50.00 +100.00 = 50.00",
            change("100", "200", 15, "2026-11"),
        ),
        (&[59], "the last day", "-10.00 +20.00 = 10.00", change("300", "600", 1, "2026-11")),
        (&[65], "allowance of money, 9.80 used", "0.00", included(9, 80)),
        (&[65], "allowance of money, 0.37 more", "0.17", included(10, 17)),
    ]
}

fn documents() -> Vec<Case> {
    let (after, before) = (CreditTaken::AfterTax, CreditTaken::BeforeTax);
    let paid = |taken| document(amounts(&["70"]), &["10"], taken, &["10", "30"]).total.to_string();
    let shares = allocate(decimal("10"), &["100", "50", "30", "20"].map(decimal), 2).unwrap();
    let shares: Vec<String> = shares.iter().map(ToString::to_string).collect();
    let forty = document(amounts(&["100"]), &["0"], after, &["40"]);
    let used = document(amounts(&["50"]), &["20"], before, &["30", "30"]);
    let eur = document(amounts(&["2800", "-1500", "25"]), &["25"], after, &[]);
    let to = |amount: &str, currency| round_money(decimal(amount), currency).to_string();
    vec![
        (&[42], "parts by largest remainder", "5.00/2.50/1.50/1.00", shares.join("/")),
        (
            &[45],
            "credit = before_tax; what is not drawn stays on the grant",
            "0.00; 0.00; 0.00",
            taxed(&used),
        ),
        (
            &[46],
            "taxes never compound",
            "100.00; 8.00; 108.00",
            taxed(&document(amounts(&["100"]), &["6", "2"], after, &[])),
        ),
        (&[47], "credit = before_tax, coupon and credits as grants", "33.00", paid(before)),
        (&[47], "credit = after_tax, coupon and credits as grants", "37.00", paid(after)),
        (&[49], "half away from zero", "17.97", to("17.9699999999999988631316", Currency::EUR)),
        (
            &[61],
            "credit = after_tax",
            "40.00 60.00",
            format!("{} {}", forty.prepaid.unwrap(), forty.total),
        ),
        (&[63], "grant_order = priority", "B 20 A 40", order(GrantOrder::Priority)),
        (&[64], "grant_order = expiry", "C 60", order(GrantOrder::Expiry)),
        (&[76], "lines below zero, one rate on the net", "1325.00; 331.25; 1656.25", taxed(&eur)),
        (
            &[79],
            "each tax is rounded",
            "140.00; 20.97; 160.97",
            taxed(&document(amounts(&["140"]), &["5", "9.975"], after, &[])),
        ),
        (
            &[81],
            "decimal places of the currency",
            "47.34 47",
            format!("{} {}", to("47.34075", Currency::USD), to("47.34075", Currency::JPY)),
        ),
    ]
}

fn tokens() -> Vec<Case> {
    let million = |prices: &str| format!("per = \"1m_tokens\"\n{prices}");
    let of = |prices: &str, used: &[(&str, u64)]| cost(&million(prices), used);
    let litellm = "input = \"2.5\"\ncache_read = \"0.25\"\noutput = \"15\"";
    let gemini = "input = \"1.25\"\ncache_read = \"0.625\"\noutput = \"10\"";
    let openai = "input = \"2.5\"\ncache_read = \"1.25\"\noutput = \"10\"";
    let focus = "cache_read = \"0.20\"\ncache_write_other = \"2.50\"";
    let cached = "input = \"3\"\ncache_read = \"0.3\"";
    let rows = |prices: &str, used: &[(&str, u64)]| cost_rows(&million(prices), used);
    vec![
        (
            &[66],
            "classes are disjoint",
            "0.011684",
            of(litellm, &[("input_uncached", 2_618), ("cache_read", 3_456), ("output_text", 285)]),
        ),
        (
            &[67],
            "classes are disjoint",
            "0.184918125",
            of(
                gemini,
                &[("input_uncached", 5_005), ("cache_read", 257_955), ("output_text", 1_744)],
            ),
        ),
        (
            &[69],
            "classes are disjoint",
            "0.005615",
            of(openai, &[("input_uncached", 86), ("cache_read", 1_920), ("output_text", 300)]),
        ),
        (
            &[70],
            "per = 1m_tokens",
            "42 + 52.5 = 94.5",
            rows(
                "input = \"5\"\noutput = \"25\"",
                &[("input_uncached", 8_400_000), ("output_text", 2_100_000)],
            ),
        ),
        (
            &[71],
            "per = 1m_tokens",
            "10 + 37.5 = 47.5",
            rows(focus, &[("cache_read", 50_000_000), ("cache_write_other", 15_000_000)]),
        ),
        (&[72], "per = 1m_tokens", "0.0015", of(cached, &[("input_uncached", 500)])),
        (&[72], "per = 1m_tokens", "0.0024", of(cached, &[("cache_read", 8_000)])),
    ]
}

fn cases() -> Vec<Case> {
    [packages(), units(), tiers(), plans(), documents(), tokens()].concat()
}

#[test]
fn every_worked_example_holds_under_its_setting() {
    let wrong: Vec<String> = cases()
        .into_iter()
        .filter(|(_, _, expected, got)| expected != got)
        .map(|(rows, setting, expected, got)| format!("{rows:?} {setting}: {got}, not {expected}"))
        .collect();

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Rows of the table under this heading of the page.
fn listed(heading: &str) -> BTreeSet<u32> {
    let page = include_str!("../../../../docs/rating.md");
    let (_, list) = page.split_once(heading).unwrap();
    let (list, _) = list.split_once("\n## ").unwrap_or((list, ""));
    list.lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|rows| rows.split(", "))
        .filter_map(|row| row.parse().ok())
        .collect()
}

/// Every row of the collection is in the table above, or among those that are not expressed.
#[test]
fn every_row_is_a_case_or_is_listed_with_its_reason() {
    const ROWS: [u32; 62] = [
        1, 2, 3, 7, 8, 9, 10, 12, 13, 14, 15, 16, 20, 22, 23, 24, 27, 28, 29, 31, 32, 33, 34, 35,
        36, 37, 39, 40, 41, 42, 44, 45, 46, 47, 49, 51, 54, 55, 56, 58, 59, 60, 61, 62, 63, 64, 65,
        66, 67, 69, 70, 71, 72, 73, 74, 76, 77, 79, 80, 81, 84, 85,
    ];
    let tested: BTreeSet<u32> =
        cases().iter().flat_map(|(rows, ..)| rows.iter().copied()).collect();
    let absent = listed("## Examples that are not expressed");
    let in_part = listed("## Examples that are expressed in part");

    let missing: Vec<u32> =
        ROWS.into_iter().filter(|row| !tested.contains(row) && !absent.contains(row)).collect();
    assert!(missing.is_empty(), "neither a case nor listed: {missing:?}");
    let both: Vec<&u32> = tested.intersection(&absent).collect();
    assert!(both.is_empty(), "a case and yet listed: {both:?}");
    assert!(!in_part.is_empty() && in_part.is_subset(&tested), "in part, of no case: {in_part:?}");
    let count = format!("a table of {} worked examples", tested.len());
    assert!(include_str!("../../../../docs/rating.md").contains(&count), "{count}");
}
