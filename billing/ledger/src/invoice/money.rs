//! What the life of an invoice does to the books: postings that sum to zero (B7).
//!
//! | step | debit | credit |
//! |---|---|---|
//! | finalize | `receivable:billed:C` total | `revenue:billed` lines, `tax:payable` tax |
//! | | `credit:prepaid:C` credit drawn | |
//! | | `revenue:unbilled` exact cost | `receivable:unbilled:C` exact cost |
//! | pay | `cash` what came | `receivable:billed:C` the same |
//! | refund | `receivable:billed:C` what goes back | `cash` the same |
//! | void | all of finalize, the other way round | |
//! | credit | `revenue:billed` lines, `tax:payable` tax | `receivable:billed:C` money |
//! | | | `credit:prepaid:C` what goes back to credit |

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use permille_rating::round::to_nano;
use permille_types::{Currency, CustomerId, DocumentNumber};
use rust_decimal::Decimal;

use super::{Invoice, InvoiceState, Standing, repo};
use crate::{
    CreditNote, Ledger, LedgerError,
    column::{self, negated},
    credit_note, grant,
    posting::{self, Books},
    store::Connection,
};

const REVENUE: &str = "revenue:billed";
const TAX: &str = "tax:payable";
const CASH: &str = "cash";

fn receivable(customer: &CustomerId) -> String {
    format!("receivable:billed:{customer}")
}

/// Money that has moved since an invoice was issued.
pub(super) struct Moved {
    pub(super) paid: Decimal,
    pub(super) refunded: Decimal,
    pub(super) credited: Decimal,
}

/// What has become of the amount of an issued invoice.
pub(super) fn standing(
    invoice: &Invoice,
    state: InvoiceState,
    Moved { paid, refunded, credited }: Moved,
) -> Result<Standing, LedgerError> {
    let due = if state == InvoiceState::Void {
        Decimal::ZERO
    } else {
        let left = column::exact_sub("due amount", invoice.total, paid)?;
        let left = column::exact_sub("due amount", left, credited)?;
        column::exact_add("due amount", left, refunded)?
    };
    let places = invoice.total.scale();
    Ok(Standing {
        paid: at_places(paid, places),
        credited: at_places(credited, places),
        refunded: Some(at_places(refunded, places)).filter(|refunded| !refunded.is_zero()),
        due: at_places(due, places),
    })
}

/// `amount` with the decimal places of the invoice; it never has more.
fn at_places(mut amount: Decimal, places: u32) -> Decimal {
    amount.rescale(places);
    amount
}

pub(super) async fn post_issue(
    connection: &mut Connection,
    invoice: &Invoice,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    post_whole(connection, invoice, "finalized", Way::In, at).await
}

pub(super) async fn post_void(
    connection: &mut Connection,
    invoice: &Invoice,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    post_whole(connection, invoice, "voided", Way::Out, at).await
}

/// Whether an invoice is booked or taken back.
#[derive(Debug, Clone, Copy)]
enum Way {
    In,
    Out,
}

/// Books the whole invoice or takes it back.
async fn post_whole(
    connection: &mut Connection,
    invoice: &Invoice,
    what: &str,
    way: Way,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let subject = subject(invoice, what);
    let customer = &invoice.customer.id;
    let books = Books { customer, currency: invoice.currency, subject: &subject, at };
    let add = |sum, amount| column::exact_add("amounts of an invoice", sum, amount);
    let tax = invoice.tax.iter().map(|tax| tax.amount).try_fold(Decimal::ZERO, add)?;
    // Only usage has accrued; terms are owed by the invoice itself.
    let usage = invoice.lines.iter().filter(|line| line.meter.is_usage());
    let exact = usage.map(|line| line.exact).try_fold(Decimal::ZERO, add)?;
    let signed = |amount| match way {
        Way::In => amount,
        Way::Out => negated(amount),
    };
    let amounts = [
        (receivable(customer), signed(invoice.total)),
        (grant::account(customer), signed(invoice.prepaid.unwrap_or_default())),
        (REVENUE.to_owned(), signed(negated(invoice.subtotal))),
        (TAX.to_owned(), signed(negated(tax))),
    ];
    posting::book(connection, books, &amounts).await?;
    posting::accrue_unbilled(connection, books, signed(negated(exact))).await
}

/// Which way money goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payment {
    /// From the customer.
    In,
    /// Back to the customer.
    Back,
}

impl Payment {
    /// As it is stored.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Back => "back",
        }
    }
}

/// Books money that came or went back.
pub(super) async fn post_payment(
    connection: &mut Connection,
    invoice: &Invoice,
    (way, amount): (Payment, Decimal),
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let (what, cash) = match way {
        Payment::In => ("paid", amount),
        Payment::Back => ("refunded", negated(amount)),
    };
    let subject = subject(invoice, what);
    let customer = &invoice.customer.id;
    let books = Books { customer, currency: invoice.currency, subject: &subject, at };
    let amounts = [(CASH.to_owned(), cash), (receivable(customer), negated(cash))];
    posting::book(connection, books, &amounts).await
}

/// Books what a credit note takes back.
pub(crate) async fn post_credit(
    connection: &mut Connection,
    note: &CreditNote,
) -> Result<(), LedgerError> {
    let subject = format!("credit note {} of invoice {}", note.number, note.invoice.number);
    let customer = &note.customer.id;
    let books = Books { customer, currency: note.currency, subject: &subject, at: note.issued_at };
    let tax = note.tax.iter().map(|tax| tax.amount).try_fold(Decimal::ZERO, |sum, tax| {
        column::exact_add("taxes of a credit note", sum, tax)
    })?;
    let amounts = [
        (REVENUE.to_owned(), note.of_lines()),
        (TAX.to_owned(), tax),
        (receivable(customer), negated(note.in_money())),
        (grant::account(customer), negated(note.prepaid.unwrap_or_default())),
    ];
    posting::book(connection, books, &amounts).await
}

fn subject(invoice: &Invoice, what: &str) -> String {
    let number = invoice.number.as_ref().map_or("without a number", DocumentNumber::as_str);
    format!("invoice {number} {what}")
}

impl Ledger {
    /// What is wrong in the books, in words: postings that do not sum to zero, accounts that do not
    /// say what their entries do, customers whose balance is not what their invoices say. Nothing,
    /// unless something else wrote the file.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn check_books(&self) -> Result<Vec<String>, LedgerError> {
        let mut view = self.store.view().await?;
        discrepancies(&mut view).await
    }
}

pub(crate) async fn discrepancies(connection: &mut Connection) -> Result<Vec<String>, LedgerError> {
    let mut found = posting::discrepancies(connection).await?;
    found.extend(grant::discrepancies(connection).await?);
    let mut owed: BTreeMap<(CustomerId, &'static str), (Currency, Decimal)> = BTreeMap::new();
    for (customer, currency, total, paid) in repo::issued_amounts(connection).await? {
        let (_, sum) = owed.entry((customer, currency.code())).or_insert((currency, Decimal::ZERO));
        let left = column::exact_sub("what is owed", total, paid)?;
        *sum = column::exact_add("what is owed", *sum, left)?;
    }
    for (customer, currency, gross) in credit_note::amounts(connection).await? {
        let (_, sum) = owed.entry((customer, currency.code())).or_insert((currency, Decimal::ZERO));
        *sum = column::exact_sub("what is owed", *sum, gross)?;
    }
    for ((customer, _), (currency, owed)) in owed {
        let account = receivable(&customer);
        let balance = posting::balance(connection, &account, currency).await?;
        let owed = to_nano(owed)?;
        if balance != owed {
            found.push(format!("account {account} says {balance} nano-units, invoices say {owed}"));
        }
    }
    Ok(found)
}
