//! UBL by EN 16931: the arithmetic rules BR-CO-10 to BR-CO-17, computed from the XML alone.

use std::str::FromStr;

use permille_documents::{BilledBefore, Document, Export, Format};
use permille_rating::invoice::{CreditScope, TaxRate, TaxTerms};
use roxmltree::Node;
use rust_decimal::{Decimal, RoundingStrategy};

use crate::samples::{
    CHARGE, credit_note, decimal, export, invoice, november, text, try_written, vat, version,
};

/// The one descendant of that name, by path from `node`.
fn at<'a, 'x>(node: Node<'a, 'x>, path: &str) -> Option<Node<'a, 'x>> {
    path.split('/')
        .try_fold(node, |node, name| node.children().find(|child| child.tag_name().name() == name))
}

/// What is to be paid.
pub(crate) fn payable(xml: &str) -> Decimal {
    let parsed = roxmltree::Document::parse(xml).unwrap();
    amount(parsed.root_element(), "LegalMonetaryTotal/PayableAmount")
}

fn amount(node: Node<'_, '_>, path: &str) -> Decimal {
    let node = at(node, path).unwrap_or_else(|| panic!("no {path}"));
    assert_eq!(node.attribute("currencyID"), Some("CNY"), "{path}");
    let amount = Decimal::from_str(node.text().unwrap()).unwrap();
    assert!(amount.scale() <= 2, "BR-DEC: {path} {amount}");
    amount
}

fn words(node: Node<'_, '_>, path: &str) -> String {
    at(node, path).and_then(|node| node.text()).unwrap_or_default().to_owned()
}

fn round(amount: Decimal) -> Decimal {
    amount.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero)
}

/// Checks the rules; gives the category of VAT.
///
/// Source: EN 16931-1:2017, table 3 "Conditions", and its syntax binding to UBL.
pub(crate) fn check(xml: &str, tax_slack: Decimal) -> String {
    let parsed = roxmltree::Document::parse(xml).unwrap();
    let root = parsed.root_element();
    let totals = at(root, "LegalMonetaryTotal").unwrap();
    let lines: Vec<_> = root
        .children()
        .filter(|node| ["InvoiceLine", "CreditNoteLine"].contains(&node.tag_name().name()))
        .collect();
    assert!(!lines.is_empty(), "BR-16");

    let of_lines: Decimal = lines.iter().map(|line| amount(*line, "LineExtensionAmount")).sum();
    let net = amount(totals, "LineExtensionAmount");
    assert_eq!(net, of_lines, "BR-CO-10");
    let allowances = root.children().filter(|node| node.tag_name().name() == "AllowanceCharge");
    assert_eq!(allowances.count(), 0, "BR-CO-11 and BR-CO-12: there are none");
    assert!(at(totals, "AllowanceTotalAmount").is_none());
    assert!(at(totals, "ChargeTotalAmount").is_none());
    let without_vat = amount(totals, "TaxExclusiveAmount");
    assert_eq!(without_vat, net, "BR-CO-13");
    let subtotals: Vec<_> = at(root, "TaxTotal")
        .unwrap()
        .children()
        .filter(|node| node.tag_name().name() == "TaxSubtotal")
        .collect();
    let vat: Decimal = subtotals.iter().map(|subtotal| amount(*subtotal, "TaxAmount")).sum();
    assert_eq!(amount(root, "TaxTotal/TaxAmount"), vat, "BR-CO-14");
    let with_vat = amount(totals, "TaxInclusiveAmount");
    assert_eq!(with_vat, without_vat + vat, "BR-CO-15");
    let prepaid = at(totals, "PrepaidAmount")
        .map_or(Decimal::ZERO, |node| Decimal::from_str(node.text().unwrap()).unwrap());
    assert_eq!(amount(totals, "PayableAmount"), with_vat - prepaid, "BR-CO-16");

    let [subtotal] = subtotals.as_slice() else { panic!("one breakdown") };
    let base = amount(*subtotal, "TaxableAmount");
    let category = words(*subtotal, "TaxCategory/ID");
    let percent = words(*subtotal, "TaxCategory/Percent");
    let of_category: Decimal = lines
        .iter()
        .filter(|line| words(**line, "Item/ClassifiedTaxCategory/ID") == category)
        .map(|line| amount(*line, "LineExtensionAmount"))
        .sum();
    assert_eq!(base, of_category, "BR-S-08 and the like");
    for line in &lines {
        assert_eq!(words(*line, "Item/ClassifiedTaxCategory/Percent"), percent);
        check_line(*line);
    }
    let rate = if percent.is_empty() { Decimal::ZERO } else { decimal(&percent) };
    let due = round(base * rate / decimal("100"));
    let off = (amount(*subtotal, "TaxAmount") - due).abs();
    assert!(off <= tax_slack, "BR-CO-17: {off}");
    let exempted = at(*subtotal, "TaxCategory/TaxExemptionReason").is_some();
    assert_eq!(exempted, ["AE", "E", "O"].contains(&category.as_str()), "BR-E-10, BR-S-10");
    if amount(totals, "PayableAmount") > Decimal::ZERO {
        let told = at(root, "DueDate").or(at(root, "PaymentTerms"));
        assert!(told.is_some(), "BR-CO-25");
    }
    category
}

/// The line's amount is its price ÷ base quantity × quantity (PEPPOL-EN16931-R120).
fn check_line(line: Node<'_, '_>) {
    let quantity = at(line, "InvoicedQuantity").or(at(line, "CreditedQuantity")).unwrap();
    let quantity = decimal(quantity.text().unwrap());
    let price = decimal(&words(line, "Price/PriceAmount"));
    let base = decimal(&words(line, "Price/BaseQuantity"));
    assert!(!price.is_sign_negative(), "BR-27");
    assert_eq!(amount(line, "LineExtensionAmount"), round(price * quantity / base));
}

fn ubl(document: &Document) -> String {
    text(document, Format::Ubl, &november())
}

#[test]
fn the_arithmetic_rules_hold_in_every_category() {
    let exempt = TaxTerms::Exempt { reason: "Article 132 <& co>".to_owned() };
    for (terms, category) in [
        (vat("19"), "S"),
        (vat("0"), "Z"),
        (exempt, "E"),
        (TaxTerms::ReverseCharge, "AE"),
        (TaxTerms::None, "O"),
    ] {
        let xml = ubl(&invoice(&november(), terms));

        assert_eq!(check(&xml, Decimal::ZERO), category);
        let vat_ids = xml.contains("<cbc:CompanyID>DE987654321</cbc:CompanyID>");
        assert_eq!(vat_ids, category != "O", "BR-O-02, BR-S-02");
        assert_eq!(xml.contains("DE123456789"), category != "O", "BR-AE-02, BR-O-02");
    }
}

#[test]
fn a_price_stands_per_thousand_tokens() {
    let xml = ubl(&invoice(&november(), vat("19")));

    assert!(xml.contains("<cbc:PriceAmount currencyID=\"CNY\">0.00007</cbc:PriceAmount>"));
    assert!(xml.contains("<cbc:BaseQuantity unitCode=\"C62\">1000</cbc:BaseQuantity>"));
    assert!(xml.contains("<cbc:DueDate>2026-12-15</cbc:DueDate>"), "{xml}");
    let parsed = roxmltree::Document::parse(&xml).unwrap();
    let root = parsed.root_element();
    assert_eq!(words(root, "OrderReference/ID"), "PO-7");
    assert_eq!(words(root, "InvoicePeriod/StartDate"), "2026-11-01");
    assert_eq!(words(root, "InvoicePeriod/EndDate"), "2026-11-30");
    assert_eq!(words(root, "InvoiceTypeCode"), "380");
    let buyer = at(root, "AccountingCustomerParty/Party/PostalAddress").unwrap();
    assert_eq!(words(buyer, "StreetName"), "1 Main Street");
    assert_eq!(words(buyer, "Country/IdentificationCode"), "DE");
}

#[test]
fn a_credit_note_names_its_invoice_and_adds_up() {
    let invoice = invoice(&november(), vat("19"));
    for scope in [CreditScope::Rest, CreditScope::Amount(decimal("0.37"))] {
        let note = credit_note(&invoice, scope);

        let xml = ubl(&note);

        // The taxes of all notes together are those of the invoice, so one may be a cent off.
        assert_eq!(check(&xml, decimal("0.01")), "S");
        let parsed = roxmltree::Document::parse(&xml).unwrap();
        let root = parsed.root_element();
        assert_eq!(root.tag_name().name(), "CreditNote");
        let credited = words(root, "BillingReference/InvoiceDocumentReference/ID");
        assert_eq!(credited, "INV-2026-000001");
        assert_eq!(words(root, "CreditNoteTypeCode"), "381");
        assert_eq!(words(root, "Note"), "wrong price");
    }
}

/// Late usage of a volume charge, and a commitment that is owed no more.
#[test]
fn a_line_below_zero_is_a_quantity_below_zero_at_a_price_above_it() {
    let mut document = invoice(&november(), vat("19"));
    document.lines[0].charge = Some(version(CHARGE));
    document.lines[0].corrects = Some("2026-10".to_owned());
    document.lines[0].amount = decimal("-4.00");
    let net: Decimal = document.lines.iter().map(|line| line.amount).sum();
    let tax = &mut document.taxes[0];
    (tax.base, tax.amount) = (net, round(net * decimal("0.19")));
    (document.net, document.gross, document.total) = (net, net + tax.amount, net + tax.amount);

    let xml = ubl(&document);

    assert!(net.is_sign_negative(), "all of it is below zero: {net}");
    assert_eq!(check(&xml, Decimal::ZERO), "S");
    assert_eq!(payable(&xml), document.total);
    let parsed = roxmltree::Document::parse(&xml).unwrap();
    let lines = parsed.root_element().children();
    let line = lines.into_iter().find(|node| node.tag_name().name() == "InvoiceLine").unwrap();
    assert_eq!(words(line, "InvoicedQuantity"), "-1");
    assert_eq!(words(line, "LineExtensionAmount"), "-4.00");
    assert_eq!(words(line, "Price/PriceAmount"), "4.00");
    assert_eq!(words(line, "Note"), "Late usage of 2026-10");
}

#[test]
fn what_the_standard_cannot_say_is_refused_by_name() {
    let several = TaxTerms::Standard {
        rates: ["GST", "QST"]
            .map(|name| TaxRate { name: name.to_owned(), percent: decimal("5") })
            .into(),
    };
    let refused = |change: &dyn Fn(&mut Export), terms: TaxTerms| {
        let mut export = export(&invoice(&november(), terms), Format::Ubl);
        change(&mut export);
        try_written(export, &[], &[], 1).unwrap_err().to_string()
    };

    let cases = [
        (refused(&|_| {}, several), "several taxes"),
        (refused(&|export| export.issuer.country = None, vat("1")), "`issuer.country`"),
        (refused(&|export| export.issuer.tax_id = None, vat("1")), "`issuer.tax_id`"),
        (
            refused(
                &|export| {
                    export.issuer.tax_id = Some("91310000".to_owned());
                    export.issuer.registration = None;
                },
                vat("1"),
            ),
            "`issuer.registration`, or an `issuer.tax_id`",
        ),
        (
            refused(&|export| export.issuer.registration = None, TaxTerms::None),
            "`issuer.registration`, as a VAT id is not shown",
        ),
        (refused(&|export| export.issuer.country = Some("AB".to_owned()), vat("1")), "BR-CL-14"),
        (refused(&|export| export.document.issued_at = None, vat("1")), "not issued"),
        (refused(&|export| export.document.lines.clear(), vat("1")), "BR-16"),
        (
            refused(
                &|export| {
                    export.document.buyer.address = Some("Main Street".to_owned());
                    export.document.buyer.tax_id = Some("91310000".to_owned());
                },
                vat("1"),
            ),
            "`billing_address`",
        ),
        (
            refused(
                &|export| {
                    export.document.buyer.address = Some("Main Street\nAB".to_owned());
                    export.document.buyer.tax_id = Some("ABC680524P76".to_owned());
                },
                vat("1"),
            ),
            "`billing_address`",
        ),
    ];
    for (error, named) in cases {
        assert!(error.contains(named) && error.contains("accepted"), "{named}: {error}");
    }
}

/// BR-CO-09: what begins with no country's code is no VAT id. The id here is a Mexican one.
#[test]
fn a_tax_id_of_a_country_without_a_prefix_is_no_vat_id() {
    let mut export = export(&invoice(&november(), vat("16")), Format::Ubl);
    export.issuer.tax_id = Some("ABC680524P76".to_owned());
    export.document.buyer.tax_id = Some("XYZ680524P76".to_owned());

    let xml = String::from_utf8(try_written(export, &[], &[], 1).unwrap()).unwrap();

    let parsed = roxmltree::Document::parse(&xml).unwrap();
    let root = parsed.root_element();
    let seller = at(root, "AccountingSupplierParty/Party").unwrap();
    assert_eq!(words(seller, "PartyTaxScheme/CompanyID"), "ABC680524P76");
    assert_eq!(words(seller, "PartyTaxScheme/TaxScheme/ID"), "TAX");
    assert_eq!(words(seller, "PartyLegalEntity/CompanyID"), "HRB 12345");
    let buyer = at(root, "AccountingCustomerParty/Party").unwrap();
    assert!(at(buyer, "PartyTaxScheme").is_none(), "{xml}");
    assert_eq!(words(buyer, "PartyLegalEntity/CompanyID"), "XYZ680524P76");
}

/// UNTDID 1001 code 326 is a partial invoice; BG-3 names those that precede a final one.
#[test]
fn an_interim_invoice_is_a_partial_one_and_the_months_own_names_it() {
    let requests = november();
    let month = invoice(&requests, vat("6"));
    let interim = Document { interim: true, ..month.clone() };
    let before =
        |number: &str| BilledBefore { number: number.parse().unwrap(), amount: decimal("12.00") };
    let billed_before = vec![before("INV-2026-000007"), before("INV-2026-000009")];
    let after = Document { billed_before, ..month };

    let interim = text(&interim, Format::Ubl, &requests);
    let after = text(&after, Format::Ubl, &requests);

    check(&interim, Decimal::ZERO);
    check(&after, Decimal::ZERO);
    let parsed = roxmltree::Document::parse(&interim).unwrap();
    assert_eq!(words(parsed.root_element(), "InvoiceTypeCode"), "326");
    let parsed = roxmltree::Document::parse(&after).unwrap();
    let root = parsed.root_element();
    assert_eq!(words(root, "InvoiceTypeCode"), "380");
    let preceding: Vec<String> = root
        .children()
        .filter(|node| node.tag_name().name() == "BillingReference")
        .map(|node| words(node, "InvoiceDocumentReference/ID"))
        .collect();
    assert_eq!(preceding, ["INV-2026-000007", "INV-2026-000009"]);
}

#[test]
fn amounts_have_at_most_two_decimal_places() {
    let written = |net: &str| {
        let mut export = export(&invoice(&november(), vat("1")), Format::Ubl);
        export.document.net = decimal(net);
        try_written(export, &[], &[], 1)
    };

    assert!(written("7").is_ok() && written("7.00").is_ok());
    let refused = written("7.000").unwrap_err().to_string();
    assert!(refused.contains("more than two decimal places"), "{refused}");
}

#[test]
fn the_account_is_told_to_who_pays_and_what_is_not_there_is_left_out() {
    let month = invoice(&november(), TaxTerms::ReverseCharge);
    let note = credit_note(&month, CreditScope::Rest);

    let [month, note] = [&month, &note].map(|document| text(document, Format::Ubl, &[]));

    let iban = "DE02120300000000202051";
    assert!(month.contains(iban) && !note.contains(iban));
    assert!(month.contains("VATEX-EU-AE") && !month.contains("PrepaidAmount"), "{month}");
}

#[test]
fn the_country_of_a_buyer_is_the_last_line_where_that_is_a_code() {
    for (address, tax_id, country) in [
        ("1 Main Street\nDE", None, "DE"),
        ("1 Main Street\nBERLIN", Some("FR123456789"), "FR"),
        ("1 Main Street\n12", Some("FR123456789"), "FR"),
    ] {
        let mut document = invoice(&november(), vat("1"));
        document.buyer.address = Some(address.to_owned());
        document.buyer.tax_id = tax_id.map(str::to_owned);

        let xml = text(&document, Format::Ubl, &[]);

        let parsed = roxmltree::Document::parse(&xml).unwrap();
        let buyer = at(parsed.root_element(), "AccountingCustomerParty/Party").unwrap();
        let found = words(buyer, "PostalAddress/Country/IdentificationCode");
        assert_eq!(found, country, "{address}");
    }
}

#[test]
fn a_line_of_a_charge_is_one_of_its_amount() {
    let mut document = invoice(&november(), vat("1"));
    document.lines[0].charge = Some(version(CHARGE));

    let xml = text(&document, Format::Ubl, &[]);

    let parsed = roxmltree::Document::parse(&xml).unwrap();
    let mut lines = parsed.root_element().children();
    let line = lines.find(|node| node.tag_name().name() == "InvoiceLine").unwrap();
    assert_eq!(words(line, "InvoicedQuantity"), "1");
    assert_eq!(words(line, "Price/PriceAmount"), words(line, "LineExtensionAmount"));
}
