//! FOCUS rows: the columns that the specification demands, and the sum.

use permille_documents::{Document, Export, Format, focus::COLUMNS, focus::MANDATORY};
use permille_rating::invoice::CreditScope;

use crate::samples::{
    CHARGE, credit_note, decimal, export, invoice, november, rows, sum, text, try_written, vat,
    version,
};

/// Source: FOCUS 1.4, dataset Cost and Usage, feature level Mandatory.
const DEMANDED: [&str; 21] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodStart",
    "BillingPeriodEnd",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ContractedCost",
    "EffectiveCost",
    "HostProviderName",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
];

#[test]
fn every_demanded_column_is_there_and_costs_add_up_to_the_total() {
    let requests = november();
    let document = invoice(&requests, vat("6"));

    let rows = rows(text(&document, Format::Focus, &requests).as_bytes());

    assert_eq!(COLUMNS[..MANDATORY], DEMANDED);
    let nullable = ["ChargeClass", "PricingQuantity", "PricingUnit"];
    for row in &rows {
        for column in DEMANDED.iter().filter(|column| !nullable.contains(column)) {
            assert!(!row[*column].is_empty(), "{column}: {row:?}");
        }
        assert_eq!(row["InvoiceId"], "INV-2026-000001");
    }
    assert_eq!(sum(&rows, "BilledCost"), document.total);
    assert_eq!(sum(&rows, "EffectiveCost"), document.total);
    let usage: Vec<_> =
        rows.iter().filter(|row| row["ChargeCategory"] == "Usage").cloned().collect();
    // A session has a share in each line of its classes, and tokens stay whole.
    assert_eq!(usage.len(), 6);
    assert_eq!(usage[0]["x_SessionId"], "s-1");
    assert_eq!(usage[0]["PricingUnit"], "1000 Tokens");
    assert_eq!(usage[0]["SkuMeter"], "Input Tokens");
    for row in &usage {
        let product = decimal(&row["ListUnitPrice"]) * decimal(&row["PricingQuantity"]);
        assert_eq!(product, decimal(&row["ListCost"]), "{row:?}");
        let thousand = decimal(&row["ConsumedQuantity"]) / decimal("1000");
        assert_eq!(thousand, decimal(&row["PricingQuantity"]), "{row:?}");
    }
    assert_eq!(rows.last().unwrap()["ChargeCategory"], "Tax");
}

#[test]
fn a_credit_note_is_a_correction_that_takes_its_total_off() {
    let invoice = invoice(&november(), vat("6"));
    let note = credit_note(&invoice, CreditScope::Rest);

    let rows = rows(text(&note, Format::Focus, &[]).as_bytes());

    assert_eq!(sum(&rows, "BilledCost"), -note.total);
    assert!(rows.iter().all(|row| row["ChargeClass"] == "Correction"), "{rows:?}");
}

#[test]
fn each_row_says_what_kind_of_document_it_is_of() {
    let requests = november();
    let month = invoice(&requests, vat("6"));
    let interim = Document { interim: true, ..month.clone() };
    let note = credit_note(&month, CreditScope::Rest);

    for (document, kind) in [(&month, "month"), (&interim, "interim"), (&note, "credit_note")] {
        let rows = rows(text(document, Format::Focus, &requests).as_bytes());
        assert!(rows.len() > 1, "{rows:?}");
        assert!(rows.iter().all(|row| row["x_InvoiceKind"] == kind), "{kind}: {rows:?}");
    }
}

#[test]
fn usage_that_came_late_leaves_its_line_in_one_row_and_the_sum_stays() {
    let requests = november();
    let document = invoice(&requests, vat("6"));
    let mut with_late = requests.clone();
    with_late.push(crate::samples::request(9, "s-9", "ERNIE-Bot", &[("input_uncached", 500)]));
    let sums = crate::samples::sums(&with_late);

    let csv = try_written(export(&document, Format::Focus), &with_late, &sums, 1).unwrap();

    let rows = rows(&csv);
    assert_eq!(sum(&rows, "BilledCost"), document.total);
    let whole: Vec<_> = rows
        .iter()
        .filter(|row| row["x_SessionId"].is_empty() && row["ChargeCategory"] == "Usage")
        .collect();
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0]["ConsumedQuantity"], "41667");
}

#[test]
fn usage_that_changes_while_it_is_read_is_told_and_not_written_as_if_whole() {
    let requests = november();
    let document = invoice(&requests, vat("6"));
    let sums = crate::samples::sums(&requests);

    let fewer = try_written(export(&document, Format::Focus), &requests[..2], &sums, 1);
    let mut more = requests.clone();
    more.push(crate::samples::request(9, "s-9", "ERNIE-Bot", &[("input_uncached", 500)]));
    let more = try_written(export(&document, Format::Focus), &more, &sums, 1);

    for error in [fewer.unwrap_err(), more.unwrap_err()] {
        assert!(error.to_string().contains("export again"), "{error}");
    }
}

#[test]
fn what_focus_needs_is_named() {
    let document = invoice(&november(), vat("6"));
    let mut nameless: Export = export(&document, Format::Focus);
    nameless.issuer.name = None;

    let error = try_written(nameless, &[], &[], 1).unwrap_err().to_string();

    assert!(error.contains("`issuer.name` set in the configuration"), "{error}");
}

/// FOCUS 1.4: the list is what everyone is charged, contracted what the customer has agreed on.
#[test]
fn the_list_is_without_the_discount_of_the_customer() {
    let mut document = invoice(&november(), vat("6"));
    for line in document.lines.iter_mut().filter(|line| line.model.as_str() == "ERNIE-Bot") {
        line.usage.as_mut().unwrap().list_price = Some(decimal("0.015"));
    }

    let rows = rows(text(&document, Format::Focus, &november()).as_bytes());

    let usage: Vec<_> = rows.iter().filter(|row| row["ChargeCategory"] == "Usage").collect();
    assert!(usage.len() > 4, "{usage:?}");
    for row in usage {
        let cell = |column: &str| decimal(&row[column]);
        let of_ernie = row["SkuId"].starts_with("ERNIE-Bot/");
        let [list, contracted] = ["List", "Contracted"].map(|of| cell(&format!("{of}UnitPrice")));
        assert_eq!(list == decimal("0.015"), of_ernie, "{row:?}");
        assert_eq!(list == contracted, !of_ernie, "{row:?}");
        for (price, cost) in [(list, "ListCost"), (contracted, "ContractedCost")] {
            assert_eq!(price * cell("PricingQuantity"), cell(cost), "{cost}: {row:?}");
        }
        assert_eq!(cell("x_ExactCost"), cell("ContractedCost"), "{row:?}");
    }
}

/// FOCUS 1.4: of a correction alone a cost may be another one than quantity × price.
#[test]
fn the_costs_of_a_late_line_below_zero_are_all_below_zero() {
    let mut document = invoice(&november(), vat("6"));
    document.lines[0].charge = Some(version(CHARGE));
    document.lines[0].corrects = Some("2026-10".to_owned());
    document.lines[0].amount = decimal("-4.50");

    let rows = rows(text(&document, Format::Focus, &[]).as_bytes());

    let late: Vec<_> = rows.iter().filter(|row| row["x_CorrectsPeriod"] == "2026-10").collect();
    assert_eq!(late.len(), 1);
    let costs = ["BilledCost", "EffectiveCost", "ListCost", "ContractedCost"];
    assert_eq!(
        costs.map(|cost| late[0][cost].as_str()),
        ["-4.5", "-4.5", "-0.500004", "-0.500004"]
    );
    assert_eq!(late[0]["ChargeClass"], "Correction");
    assert_eq!(late[0]["x_ExactCost"], "0.500004");
}
