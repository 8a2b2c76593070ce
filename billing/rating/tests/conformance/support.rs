//! Months, charges, plans and documents of the examples, in few words.

use chrono::{DateTime, Utc};
use chrono_tz::Tz::UTC;
use permille_rating::Meter;
use permille_rating::charge::{PeriodCharge, parse_period_charges};
use permille_rating::grant::{Grant, GrantOrder, Need, draw};
use permille_rating::invoice::{
    BilledLine, CreditScope, Creditable, Credited, InvoiceDocument, InvoiceHead, Month, MonthBill,
    Part, PartPlan, Prepaid, TaxRate, TaxTerms, UsageSum, bill_interim, bill_month, credit,
};
use permille_rating::period::Period;
use permille_rating::plan::{CreditTaken, CreditTerms, Plan, parse_plans};
use permille_rating::price_book::{PriceBook, parse_price_book};
use permille_rating::prorate::prorate;
use permille_rating::round::round_money;
use permille_types::Currency;
use rust_decimal::Decimal;

pub(crate) fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// One token of `input_uncached` costs `input` per thousand; the other classes likewise.
pub(crate) fn book(prices: &str) -> PriceBook {
    let text = format!(
        "[[price]]\nmodel = \"m\"\ncurrency = \"USD\"\nfrom = 2020-01-01T00:00:00Z\n\
         source = \"an example\"\n{prices}\n"
    );
    PriceBook::new(parse_price_book(&text, "test").unwrap()).unwrap()
}

/// A token costs a cent.
pub(crate) const CENTS: &str = "per = \"1k_tokens\"\ninput = \"10\"\noutput = \"10\"";

pub(crate) fn sums(book: &PriceBook, used: &[(&str, u64)]) -> Vec<UsageSum> {
    let of = |(class, quantity): &(&str, u64)| UsageSum {
        project: "web".parse().unwrap(),
        model: "m".parse().unwrap(),
        meter: Meter::named(class),
        price_version: book.prices().first().unwrap().version.clone(),
        band: 0,
        quantity: *quantity,
    };
    used.iter().map(of).collect()
}

/// A charge for single tokens, of the customer's own.
pub(crate) fn charge(terms: &str) -> PeriodCharge {
    let text = format!(
        "[[charge]]\nname = \"c\"\ncustomer = \"acme\"\ncurrency = \"USD\"\nper = \"token\"\n\
         from = 2020-01-01T00:00:00Z\n{terms}\n"
    );
    parse_period_charges(&text, "test").unwrap().remove(0)
}

pub(crate) fn tiered(kind: &str, tiers: &str) -> PeriodCharge {
    charge(&format!("kind = \"{kind}\"\ntiers = [ {tiers} ]"))
}

pub(crate) fn plan(kind: &str, terms: &str) -> Plan {
    let text = format!("[[plan]]\nname = \"p\"\nkind = \"{kind}\"\ncurrency = \"USD\"\n{terms}\n");
    parse_plans(&text, "test").unwrap().remove(0)
}

pub(crate) fn month(label: &str, all: Vec<UsageSum>) -> Month {
    let period = Period::month(label, UTC).unwrap();
    let part = Part { period, plan: None, left: all.clone(), all, billed: Vec::new() };
    let project = "default".parse().unwrap();
    Month { corrects: None, period, project, parts: vec![part], charges: Vec::new() }
}

pub(crate) fn bill(month: &Month, book: &PriceBook) -> MonthBill {
    bill_month(month, |version| book.by_version(version), Currency::USD).unwrap()
}

pub(crate) fn total(bill: &MonthBill) -> Decimal {
    bill.lines.iter().map(|line| line.amount).sum()
}

/// An invoice over `quantity` of a charge.
fn bill_charge(charge: &PeriodCharge, quantity: u64) -> MonthBill {
    let book = book(CENTS);
    let used = if quantity == 0 { Vec::new() } else { sums(&book, &[("output_text", quantity)]) };
    let mut month = month("2026-11", used);
    month.charges.push(charge.clone());
    bill(&month, &book)
}

/// What an invoice over `quantity` of a charge bills.
pub(crate) fn charged(charge: &PeriodCharge, quantity: u64) -> String {
    total(&bill_charge(charge, quantity)).normalize().to_string()
}

/// The lines of such an invoice.
pub(crate) fn charge_lines(charge: &PeriodCharge, quantity: u64) -> String {
    lines(&bill_charge(charge, quantity))
}

/// What an interim invoice over `quantity` of a charge bills, and the lines of the month's own
/// invoice when nothing is used after it.
pub(crate) fn after_interim(charge: &PeriodCharge, quantity: u64) -> String {
    let book = book(CENTS);
    let mut month = month("2026-11", sums(&book, &[("output_text", quantity)]));
    month.charges.push(charge.clone());
    let early = bill_interim(&month, |version| book.by_version(version), Currency::USD).unwrap();
    let part = month.parts.first_mut().unwrap();
    part.left = Vec::new();
    part.billed = early.lines.iter().map(BilledLine::of).collect();
    format!("{}; {}", total(&early).normalize(), lines(&bill(&month, &book)))
}

pub(crate) fn each(charge: &PeriodCharge, quantities: &[u64]) -> String {
    let amounts: Vec<String> = quantities.iter().map(|q| charged(charge, *q)).collect();
    amounts.join("; ")
}

/// The amount of a charge before rounding.
pub(crate) fn exact(charge: &PeriodCharge, quantity: u64) -> String {
    let book = book(CENTS);
    let mut month = month("2026-11", sums(&book, &[("output_text", quantity)]));
    month.charges.push(charge.clone());
    bill(&month, &book).charges.first().unwrap().exact.to_string()
}

/// What an invoice over late usage bills, after one over what came in time.
pub(crate) fn late(charge: &PeriodCharge, before: u64, after: u64) -> String {
    let book = book(CENTS);
    let in_time = sums(&book, &[("output_text", before)]);
    let mut first = month("2026-11", in_time);
    first.charges.push(charge.clone());
    let first = bill(&first, &book);
    let mut second = month("2026-11", sums(&book, &[("output_text", before + after)]));
    second.charges.push(charge.clone());
    let part = second.parts.first_mut().unwrap();
    part.left = sums(&book, &[("output_text", after)]);
    part.billed = first.lines.iter().map(BilledLine::of).collect();
    total(&bill(&second, &book)).normalize().to_string()
}

/// What an interim invoice bills of a month once so many dollars are used, what all of the month
/// then owes, and what its own invoice bills.
pub(crate) fn threshold(plan: &Plan, then: u64, in_all: u64) -> String {
    let book = book(CENTS);
    let of = |all: u64, left: u64, billed: Vec<BilledLine>| {
        let mut month = month("2026-11", sums(&book, &[("input_uncached", all * 100)]));
        let part = month.parts.first_mut().unwrap();
        part.plan = Some(PartPlan { plan: plan.clone(), is_trial: false });
        part.left = sums(&book, &[("input_uncached", left * 100)]);
        part.billed = billed;
        month
    };
    let early = of(then, then, Vec::new());
    let price = |version: &_| book.by_version(version);
    let early = bill_interim(&early, price, Currency::USD).unwrap();
    let billed = early.lines.iter().map(BilledLine::of).collect();
    let fees = bill(&of(in_all, in_all, Vec::new()), &book);
    let rest = bill(&of(in_all, in_all - then, billed), &book);
    format!("{}; {}; {}", total(&early), total(&fees), total(&rest))
}

/// The share of an amount that the last `days` of a month bear.
pub(crate) fn last_days(amount: &str, days: i64, label: &str) -> Decimal {
    let whole = Period::month(label, UTC).unwrap();
    let part = Period { start: whole.end - chrono::Duration::days(days), end: whole.end };
    prorate(decimal(amount), part, whole, Currency::USD).unwrap()
}

/// An old and a new fee for the last days, and what both change.
pub(crate) fn change(old: &str, new: &str, days: i64, label: &str) -> String {
    let (old, new) = (last_days(old, days, label), last_days(new, days, label));
    format!("-{old} +{new} = {}", new - old)
}

/// A document over these usage amounts, in dollars, with taxes and credit.
pub(crate) fn document(
    bill: MonthBill,
    taxes: &[&str],
    taken: CreditTaken,
    credit: &[&str],
) -> InvoiceDocument {
    let rate = |percent: &&str| TaxRate { name: (*percent).to_owned(), percent: decimal(percent) };
    let head = InvoiceHead {
        id: None,
        customer: "acme".parse().unwrap(),
        period: Period::month("2026-11", UTC).unwrap(),
        time_zone: UTC,
        currency: Currency::USD,
        tax_terms: TaxTerms::Standard { rates: taxes.iter().map(rate).collect() },
    };
    let grants: Vec<Grant> =
        credit.iter().map(|amount| grant(amount, 0, "2027-01-01", true, amount)).collect();
    let terms = CreditTerms { taken, order: GrantOrder::Priority };
    InvoiceDocument::with_credit(head, bill, Prepaid { terms, grants: &grants }).unwrap()
}

/// A bill with one line for each amount.
pub(crate) fn amounts(of: &[&str]) -> MonthBill {
    let book = book(CENTS);
    let line = bill(&month("2026-11", sums(&book, &[("output_text", 1)])), &book).lines.remove(0);
    let lines = of.iter().map(|amount| {
        let mut line = line.clone();
        line.amount = round_money(decimal(amount), Currency::USD);
        line
    });
    MonthBill { lines: lines.collect(), charges: Vec::new() }
}

pub(crate) fn taxed(document: &InvoiceDocument) -> String {
    let tax: Decimal = document.tax.iter().map(|tax| tax.amount).sum();
    format!("{}; {tax}; {}", document.net, document.total)
}

/// What a credit note over so much before tax gives back, and what is left of the invoice.
pub(crate) fn credited(document: &InvoiceDocument, amount: &str) -> String {
    let lines: Vec<Decimal> = document.lines.iter().map(|line| line.amount).collect();
    let of = Creditable {
        lines: &lines,
        taxes: &document.tax,
        net: document.net,
        total: document.total,
        currency: document.currency,
    };
    let scope = CreditScope::Amount(decimal(amount));
    let note = credit(of, &Credited::default(), scope).unwrap();
    format!("{}; {}", note.total, document.total - note.total)
}

pub(crate) fn grant(id: &str, priority: u32, expires: &str, paid: bool, amount: &str) -> Grant {
    Grant {
        id: id.to_owned(),
        amount: decimal(amount),
        paid: if paid { decimal(amount) } else { Decimal::ZERO },
        left: decimal(amount),
        priority,
        expires_at: Some(at(&format!("{expires}T00:00:00Z"))),
        models: Vec::new(),
        granted_at: at("2026-01-01T00:00:00Z"),
    }
}

/// Three grants that pay 60: which of them, in which order.
pub(crate) fn order(order: GrantOrder) -> String {
    let grants = [
        grant("A", 1, "2026-09-01", true, "50"),
        grant("B", 1, "2026-09-01", false, "20"),
        grant("C", 2, "2026-08-15", false, "100"),
    ];
    let need = [Need { model: "m".parse().unwrap(), amount: decimal("60") }];
    let draws = draw(&grants, &need, order).unwrap();
    let told = draws.iter().map(|(place, amount)| {
        format!("{} {amount}", grants.get(*place).map_or("", |grant| grant.id.as_str()))
    });
    told.collect::<Vec<_>>().join(" ")
}

fn costs(prices: &str, used: &[(&str, u64)]) -> Vec<Decimal> {
    let book = book(prices);
    let bill = bill(&month("2026-11", sums(&book, used)), &book);
    bill.lines.iter().map(|line| line.exact.normalize()).collect()
}

/// What usage of these tokens costs at prices per million or thousand, before rounding.
pub(crate) fn cost(prices: &str, used: &[(&str, u64)]) -> String {
    costs(prices, used).iter().sum::<Decimal>().normalize().to_string()
}

/// The same as a row for each class, and their sum.
pub(crate) fn cost_rows(prices: &str, used: &[(&str, u64)]) -> String {
    let rows: Vec<String> = costs(prices, used).iter().map(ToString::to_string).collect();
    format!("{} = {}", rows.join(" + "), cost(prices, used))
}

/// What a plan bills of a month in which usage cost so many dollars; the plan holds from a day on.
pub(crate) fn planned(
    plan: Plan,
    label: &str,
    from_day: i64,
    until_day: i64,
    dollars: u64,
) -> MonthBill {
    let book = book(CENTS);
    let used =
        if dollars == 0 { Vec::new() } else { sums(&book, &[("input_uncached", dollars * 100)]) };
    let mut month = month(label, used.clone());
    let start = month.period.start;
    let day = |day: i64| start + chrono::Duration::days(day);
    let part = |from, to, plan: Option<Plan>, used: Vec<UsageSum>| Part {
        period: Period { start: from, end: to },
        plan: plan.map(|plan| PartPlan { plan, is_trial: false }),
        left: used.clone(),
        all: used,
        billed: Vec::new(),
    };
    let end = month.period.end.min(day(until_day));
    let mut parts = vec![part(day(from_day), end, Some(plan), used)];
    if from_day > 0 {
        parts.insert(0, part(start, day(from_day), None, Vec::new()));
    }
    if end < month.period.end {
        parts.push(part(end, month.period.end, None, Vec::new()));
    }
    month.parts = parts;
    bill(&month, &book)
}

pub(crate) fn lines(bill: &MonthBill) -> String {
    let told = bill.lines.iter().map(|line| format!("{} {}", line.meter, line.amount));
    told.collect::<Vec<_>>().join("; ")
}
