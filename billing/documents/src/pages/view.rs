//! A document turned into texts: every one safe to show, every number as people read it.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use permille_rating::{Meter, invoice::TaxTerms};
use rust_decimal::Decimal;

use super::charges::{self, ChargeRow};
use crate::{
    Document, Issuer, Kind, Language, Line, Status,
    detail::{SessionSum, SessionTable},
    text::{grouped, line, lines, percent},
    words::Words,
};

/// A label and what it tells.
pub(crate) type Facts = Vec<(String, String)>;

/// Everything that stands on the pages.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) words: Words,
    pub(crate) title: &'static str,
    pub(crate) number: String,
    /// What a reader must not miss: that it is a draft, void, or over simulated usage.
    pub(crate) stamp: Option<&'static str>,
    pub(crate) seller: Vec<String>,
    pub(crate) buyer: Vec<String>,
    pub(crate) facts: Facts,
    pub(crate) amount_label: &'static str,
    pub(crate) amount: String,
    pub(crate) amount_note: Option<String>,
    /// Sums by model, when there are several; then what is owed for no model's usage.
    pub(crate) models: Vec<(String, String)>,
    pub(crate) projects: Vec<Project>,
    /// How the amounts of charges came about.
    pub(crate) charges: Vec<ChargeRow>,
    /// Net, taxes, total.
    pub(crate) totals: Vec<(String, String, bool)>,
    pub(crate) taxes: Vec<TaxRow>,
    pub(crate) tax_note: Option<String>,
    pub(crate) sessions: Option<Sessions>,
    pub(crate) standing: Facts,
    pub(crate) notes: Vec<String>,
    pub(crate) payment: Vec<String>,
    pub(crate) records: Vec<RecordRow>,
    pub(crate) digest: Option<String>,
    pub(crate) command: Option<String>,
}

/// The lines of one cost centre.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) subtotal: String,
}

/// One line.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) number: String,
    pub(crate) model: String,
    pub(crate) class: String,
    pub(crate) quantity: String,
    pub(crate) price: String,
    pub(crate) amount: String,
}

/// One tax.
#[derive(Debug)]
pub(crate) struct TaxRow {
    pub(crate) name: String,
    pub(crate) rate: String,
    pub(crate) base: String,
    pub(crate) amount: String,
}

/// The records of one month.
#[derive(Debug)]
pub(crate) struct RecordRow {
    pub(crate) month: String,
    pub(crate) size: String,
    pub(crate) root: String,
}

/// The most expensive sessions and what is sent again in all of them.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) rows: Vec<SessionLine>,
    pub(crate) all: SessionLine,
}

/// A session, or several.
#[derive(Debug)]
pub(crate) struct SessionLine {
    pub(crate) name: String,
    pub(crate) requests: String,
    pub(crate) turns: String,
    pub(crate) input: String,
    pub(crate) resent: String,
    pub(crate) amount: String,
}

impl View {
    pub(crate) fn new(
        document: &Document,
        issuer: &Issuer,
        language: Language,
        sessions: &SessionTable,
    ) -> Self {
        let words = Words::of(language);
        let is_credit = document.is_credit();
        let notes = document.notes.iter().flat_map(|notes| lines(notes));
        let (digest, command) = match (&document.issued, &document.number) {
            (Some(text), Some(number)) => {
                let command = format!("permille invoice export {number} --format json | sha256sum");
                (Some(text.sha256.clone()), Some(command))
            }
            _ => (None, None),
        };
        let payment = issuer.payment.iter().filter(|_| !is_credit);
        Self {
            words,
            title: match (is_credit, document.interim) {
                (true, _) => words.credit_note,
                (false, true) => words.interim_invoice,
                (false, false) => words.invoice,
            },
            number: line(document.shown_number()),
            stamp: stamp(document, &words),
            seller: seller(issuer, &words),
            buyer: buyer(document, &words),
            facts: facts(document, issuer, &words),
            amount_label: if is_credit { words.amount_credited } else { words.amount_due },
            amount: money(document, document.total),
            amount_note: due_date(document, issuer)
                .map(|date| format!("{} {date}", words.due_date)),
            models: models(document, &words),
            projects: projects(document, &words),
            charges: charges::rows(document, &words),
            totals: totals(document, &words),
            taxes: document
                .taxes
                .iter()
                .map(|tax| TaxRow {
                    name: line(&tax.name),
                    rate: format!("{} %", tax.percent.normalize()),
                    base: grouped(tax.base),
                    amount: grouped(tax.amount),
                })
                .collect(),
            tax_note: tax_note(document, &words),
            sessions: session_lines(&words, sessions),
            standing: standing(document, &words),
            notes: notes.chain(count_notes(document, &words)).collect(),
            payment: payment.map(|text| line(text)).collect(),
            records: records(document),
            digest,
            command,
        }
    }
}

fn stamp(document: &Document, words: &Words) -> Option<&'static str> {
    let Kind::Invoice(status) = document.kind else { return None };
    if document.counts.is_some_and(|counts| counts.simulated_only) {
        return Some(words.simulated_state);
    }
    match status {
        Status::Preview => Some(words.preview),
        Status::Draft => Some(words.draft),
        Status::Approved => Some(words.approved),
        Status::Final => None,
        Status::Paid => Some(words.paid_state),
        Status::Void => Some(words.void),
    }
}

fn seller(issuer: &Issuer, words: &Words) -> Vec<String> {
    let labelled = |label: &str, text: &Option<String>| {
        text.as_ref().map(|text| format!("{label}: {}", line(text)))
    };
    issuer
        .name
        .iter()
        .chain(&issuer.address)
        .map(|text| line(text))
        .chain(labelled(words.tax_id, &issuer.tax_id))
        .chain(labelled(words.registration, &issuer.registration))
        .chain(labelled(words.contact, &issuer.email))
        .collect()
}

fn buyer(document: &Document, words: &Words) -> Vec<String> {
    let buyer = &document.buyer;
    let address = buyer.address.iter().flat_map(|address| lines(address));
    let tax_id = buyer.tax_id.iter().map(|id| format!("{}: {}", words.tax_id, line(id)));
    std::iter::once(line(&buyer.name)).chain(address).chain(tax_id).collect()
}

fn facts(document: &Document, issuer: &Issuer, words: &Words) -> Facts {
    let mut facts = Facts::new();
    let mut tell = |label: &str, text: Option<String>| {
        facts.extend(text.map(|text| (label.to_owned(), text)));
    };
    tell(words.number, Some(line(document.shown_number())));
    tell(words.issue_date, document.issue_date().map(|date| date.to_string()));
    tell(words.due_date, due_date(document, issuer).map(|date| date.to_string()));
    let (first, last) = document.period.days();
    let zone = document.period.time_zone.name();
    tell(words.period, Some(format!("{first} – {last} ({zone})")));
    for before in &document.billed_before {
        let amount = money(document, before.amount);
        tell(words.billed_before, Some(format!("{}: {amount}", line(before.number.as_str()))));
    }
    if let Kind::CreditNote { invoice, reason } = &document.kind {
        tell(words.credits, Some(line(invoice.as_str())));
        tell(words.reason, Some(line(reason)));
    }
    tell(words.purchase_order, document.purchase_order.as_deref().map(line));
    tell(words.customer, Some(line(document.buyer.id.as_str())));
    tell(words.currency, Some(document.currency.code().to_owned()));
    facts
}

fn due_date(document: &Document, issuer: &Issuer) -> Option<NaiveDate> {
    let date = document.issue_date().filter(|_| !document.is_credit())?;
    let days = issuer.payment_days?;
    date.checked_add_days(chrono::Days::new(days.into()))
}

fn money(document: &Document, amount: Decimal) -> String {
    format!("{} {}", grouped(amount), document.currency.code())
}

/// Sums of rounded amounts by model, in the order of names, then by term: the model of a term's
/// line is what its plan or charge is called.
fn models(document: &Document, words: &Words) -> Vec<(String, String)> {
    let mut sums: BTreeMap<(Option<String>, &str), Decimal> = BTreeMap::new();
    for line in &document.lines {
        let term = (!line.meter.is_usage()).then(|| words.meter(&line.meter));
        let sum = sums.entry((term, line.model.as_str())).or_default();
        *sum = sum.saturating_add(line.amount);
    }
    let named = |(term, name): (Option<String>, &str)| match term {
        None => line(name),
        Some(term) => format!("{term}: {}", line(name)),
    };
    sums.into_iter().map(|(of, sum)| (named(of), grouped(sum))).collect()
}

fn projects(document: &Document, words: &Words) -> Vec<Project> {
    document
        .projects
        .iter()
        .map(|project| Project {
            name: line(&project.name),
            id: line(project.id.as_str()),
            rows: document
                .lines
                .iter()
                .filter(|line| line.project == project.id)
                .map(|line| row(document, line, words))
                .collect(),
            subtotal: grouped(project.amount),
        })
        .collect()
}

fn row(document: &Document, billed: &Line, words: &Words) -> Row {
    let mut class = words.meter(&billed.meter);
    let usage = billed.usage.as_ref();
    if let Some(usage) = usage.filter(|usage| usage.band > 0) {
        class = format!("{class}, {} {}", words.band, usage.band);
    }
    if let Some(part) = billed.part {
        class = format!("{class}, {}", words.part(part, document.period.time_zone));
    }
    if let Some(month) = &billed.corrects {
        class = format!("{class}, {} {}", words.late_of, line(month));
    }
    let (quantity, mut price) = match (usage, &billed.meter) {
        (None, _) => (String::new(), String::new()),
        (Some(usage), Meter::Tokens(_)) => {
            let thousands = Decimal::try_from_i128_with_scale(usage.quantity.into(), 3);
            (thousands.map(grouped).unwrap_or_default(), grouped(usage.price.normalize()))
        }
        (Some(usage), Meter::Units(_) | Meter::Term(_)) => (
            format!("{} {}", grouped(usage.quantity.into()), words.meter(&billed.meter)),
            format!("{} {}", grouped(usage.price.normalize()), words.each),
        ),
    };
    if let Some(charge) = document.charge_name(billed).filter(|_| usage.is_some()) {
        price = format!("{}: {}", words.by_charge, line(charge));
    }
    Row {
        number: billed.number.to_string(),
        model: line(billed.model.as_str()),
        class,
        quantity,
        price,
        amount: grouped(billed.amount),
    }
}

fn totals(document: &Document, words: &Words) -> Vec<(String, String, bool)> {
    let mut totals = Vec::new();
    let mut prepaid = document.prepaid();
    prepaid.set_sign_negative(true);
    let prepaid = (words.prepaid.to_owned(), grouped(prepaid), false);
    let is_prepaid = !document.prepaid().is_zero();
    if document.is_prepaid_before_tax() {
        totals.push(prepaid.clone());
    }
    totals.push((words.net.to_owned(), grouped(document.net), false));
    for tax in &document.taxes {
        let label = format!("{} {} %", line(&tax.name), tax.percent.normalize());
        totals.push((label, grouped(tax.amount), false));
    }
    if is_prepaid && !document.is_prepaid_before_tax() {
        totals.push(prepaid);
    }
    let total = format!("{} {}", words.total, document.currency.code());
    totals.push((total, grouped(document.total), true));
    totals
}

fn tax_note(document: &Document, words: &Words) -> Option<String> {
    match &document.tax_terms {
        TaxTerms::Standard { .. } => None,
        TaxTerms::None => Some(words.no_tax.to_owned()),
        TaxTerms::ReverseCharge => Some(words.reverse_charge.to_owned()),
        TaxTerms::Exempt { reason } => Some(format!("{}: {}", words.exempt, line(reason))),
    }
}

fn session_lines(words: &Words, table: &SessionTable) -> Option<Sessions> {
    if table.rows.is_empty() {
        return None;
    }
    let count = |count: u64| grouped(count.into());
    let line_of = |name: String, sum: &SessionSum, amount: String| SessionLine {
        name,
        requests: count(sum.requests),
        turns: count(sum.turns),
        input: if sum.input_tokens > 0 { count(sum.input_tokens) } else { "–".to_owned() },
        resent: sum.resent_permille().map_or_else(|| "–".to_owned(), percent),
        amount,
    };
    let mut rows: Vec<SessionLine> = table
        .rows
        .iter()
        .map(|row| {
            let name = match &row.session {
                Some(session) => line(session.as_str()),
                None => format!("{} ({})", words.other_sessions, count(row.sum.sessions)),
            };
            line_of(name, &row.sum, grouped(row.amount))
        })
        .collect();
    if !table.apart.is_zero() {
        let mut apart = line_of(words.no_session.to_owned(), &SessionSum::default(), String::new());
        apart.requests.clear();
        apart.turns.clear();
        apart.amount = grouped(table.apart);
        rows.push(apart);
    }
    let name = format!("{} ({})", words.all_sessions, count(table.all.sessions));
    let all = line_of(name, &table.all, grouped(table.amount));
    Some(Sessions { rows, all })
}

/// What was paid and credited since; nothing where nothing was.
fn standing(document: &Document, words: &Words) -> Facts {
    let changed =
        |standing: &crate::Standing| !standing.paid.is_zero() || !standing.credited.is_zero();
    let Some(standing) = document.standing.filter(changed) else { return Facts::new() };
    [
        (words.paid_line, Some(standing.paid)),
        (words.credited_line, Some(standing.credited)),
        (words.refunded_line, Some(standing.refunded).filter(|amount| !amount.is_zero())),
        (words.still_due, Some(standing.due)),
    ]
    .into_iter()
    .filter_map(|(label, amount)| Some((label, amount?)))
    .map(|(label, amount)| (label.to_owned(), money(document, amount)))
    .collect()
}

fn records(document: &Document) -> Vec<RecordRow> {
    document
        .records
        .iter()
        .map(|records| RecordRow {
            month: line(&records.period),
            size: grouped(records.size.into()),
            root: line(&records.root),
        })
        .collect()
}

fn count_notes(document: &Document, words: &Words) -> Vec<String> {
    let Some(counts) = document.counts else { return Vec::new() };
    let of = |count: u64| format!("{} / {}", grouped(count.into()), grouped(counts.all.into()));
    let mut notes = Vec::new();
    if document.interim {
        notes.push(words.interim_note.to_owned());
    }
    if counts.unpriced > 0 {
        notes.push(format!("{} {}", of(counts.unpriced), words.unpriced_note));
    }
    if counts.estimated > 0 {
        let quantity = grouped(counts.estimated_quantity.into());
        notes.push(format!("{} {} {quantity}", of(counts.estimated), words.estimated_note));
    }
    if counts.simulated_only {
        notes.push(words.simulated_only_note.to_owned());
    } else if counts.simulated > 0 {
        notes.push(format!("{} {}", of(counts.simulated), words.simulated_note));
    }
    notes
}
