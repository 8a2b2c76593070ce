//! What a document says: the one shape that every format is written from.
//!
//! Amounts are those of the issued invoice or credit note. Nothing here adds, rounds or prices.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use permille_rating::{
    Meter,
    invoice::{AppliedCharge, TaxLine, TaxTerms},
    period::Period,
};
use permille_types::{
    Currency, CustomerId, DocumentNumber, InvoiceId, ModelName, PriceVersion, ProjectId,
};
use rust_decimal::Decimal;

/// An invoice or a credit note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Which of the two.
    pub kind: Kind,
    /// Its id; absent on a preview.
    pub id: Option<InvoiceId>,
    /// Its number; absent until it is issued.
    pub number: Option<DocumentNumber>,
    /// When it was issued.
    pub issued_at: Option<DateTime<Utc>>,
    /// Who pays, or is paid back.
    pub buyer: Buyer,
    /// The billed month.
    pub period: BilledPeriod,
    /// Whether it bills the month's usage so far, before the month's own invoice.
    pub interim: bool,
    /// Interim invoices that have billed some of the month before it.
    pub billed_before: Vec<BilledBefore>,
    /// Currency of every amount.
    pub currency: Currency,
    /// The buyer's purchase order.
    pub purchase_order: Option<String>,
    /// What else there is to say, in lines.
    pub notes: Option<String>,
    /// Cost centres with the sums of their lines.
    pub projects: Vec<ProjectAmount>,
    /// In the order of the issued document.
    pub lines: Vec<Line>,
    /// How the amounts of charges, allowances and other terms came about; a credit note has none.
    pub charges: Vec<AppliedCharge>,
    /// Sum of the lines less what credit pays before tax.
    pub net: Decimal,
    /// How the buyer is taxed.
    pub tax_terms: TaxTerms,
    /// One entry per tax rate.
    pub taxes: Vec<TaxLine>,
    /// `net` and all taxes.
    pub gross: Decimal,
    /// What is to be paid, or paid back.
    pub total: Decimal,
    /// What has become of it since it was issued; no part of what was issued.
    pub standing: Option<Standing>,
    /// The records behind the lines, one entry for each month; a credit note has none.
    pub records: Vec<Records>,
    /// Requests behind the lines; a credit note has none.
    pub counts: Option<RequestCounts>,
    /// The issued text itself, byte for byte.
    pub issued: Option<IssuedText>,
}

/// What a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// It bills a month.
    Invoice(Status),
    /// It takes back a part of an invoice.
    CreditNote {
        /// Number of the invoice.
        invoice: DocumentNumber,
        /// Why.
        reason: String,
    },
}

/// How far an invoice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Computed and not stored.
    Preview,
    /// May still change.
    Draft,
    /// Found right, not issued yet.
    Approved,
    /// Issued.
    Final,
    /// Issued and paid.
    Paid,
    /// Of no effect.
    Void,
}

impl Status {
    /// The state's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preview => "preview",
            Self::Draft => "draft",
            Self::Approved => "approved",
            Self::Final => "final",
            Self::Paid => "paid",
            Self::Void => "void",
        }
    }
}

/// Who is billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buyer {
    /// Their id.
    pub id: CustomerId,
    /// Their name.
    pub name: String,
    /// Their tax id.
    pub tax_id: Option<String>,
    /// Their address, in lines.
    pub address: Option<String>,
}

/// The billed month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledPeriod {
    /// The month, such as `2026-11`.
    pub label: String,
    /// First instant inside.
    pub start: DateTime<Utc>,
    /// First instant after.
    pub end: DateTime<Utc>,
    /// Whose wall clock bounds it.
    pub time_zone: Tz,
}

impl BilledPeriod {
    /// The first and the last day, by the customer's calendar.
    #[must_use]
    pub fn days(&self) -> (NaiveDate, NaiveDate) {
        self.days_of(Period { start: self.start, end: self.end })
    }

    /// The first and the last day of some of it, by the customer's calendar.
    pub(crate) fn days_of(&self, part: Period) -> (NaiveDate, NaiveDate) {
        let day = |instant: DateTime<Utc>| instant.with_timezone(&self.time_zone).date_naive();
        let last = part.end.checked_sub_signed(chrono::TimeDelta::microseconds(1));
        (day(part.start), day(last.unwrap_or(part.end)))
    }

    /// Whether all of `part` is inside.
    pub(crate) fn holds(&self, part: Period) -> bool {
        self.start <= part.start && part.end <= self.end
    }
}

/// An interim invoice over the month of a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledBefore {
    /// Its number.
    pub number: DocumentNumber,
    /// What it has billed, before tax.
    pub amount: Decimal,
}

/// What one cost centre owes, before tax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectAmount {
    /// Its id, as lines name it.
    pub id: ProjectId,
    /// Its name.
    pub name: String,
    /// Sum of its lines.
    pub amount: Decimal,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its place on the invoice, from 1.
    pub number: usize,
    /// The month whose late usage it bills; absent on a line of the document's own month.
    pub corrects: Option<String>,
    /// The part of the month that it bills, where other terms bill another part.
    pub part: Option<Period>,
    /// The cost centre.
    pub project: ProjectId,
    /// The model.
    pub model: ModelName,
    /// The token class or unit.
    pub meter: Meter,
    /// What was used at which price; absent where the amount does not follow from a quantity, as
    /// on a credit note.
    pub usage: Option<LineUsage>,
    /// The charge or allowance over the month that made the amount, and not the quantity at its
    /// price; absent where the amount is quantity × price.
    pub charge: Option<PriceVersion>,
    /// The amount, rounded once.
    pub amount: Decimal,
}

/// Quantity and price of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineUsage {
    /// Tokens or units.
    pub quantity: u64,
    /// Per thousand tokens, or for one unit.
    pub price: Decimal,
    /// What everyone is charged, where the price is a discount off it; absent where it is none.
    pub list_price: Option<Decimal>,
    /// Quantity × price, exact.
    pub exact: Decimal,
    /// The price applied.
    pub price_version: PriceVersion,
    /// Its band: 0 is outside every band.
    pub band: u32,
}

/// What has become of an issued amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What was paid.
    pub paid: Decimal,
    /// What credit notes have taken back.
    pub credited: Decimal,
    /// What was paid back.
    pub refunded: Decimal,
    /// What is still to be paid.
    pub due: Decimal,
}

/// The records of a month's requests, and what proves each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// The month, such as `2026-11`.
    pub period: String,
    /// How many there are: one for each request.
    pub size: u64,
    /// The root of the Merkle tree over them, in hexadecimal digits.
    pub root: String,
}

/// Requests behind an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestCounts {
    /// All of the month.
    pub all: u64,
    /// Held for want of a price and on no line.
    pub unpriced: u64,
    /// With counts that were estimated, in whole or in part.
    pub estimated: u64,
    /// Tokens and units of those.
    pub estimated_quantity: u64,
    /// Served by the built-in simulated provider.
    pub simulated: u64,
    /// Whether the lines are theirs.
    pub simulated_only: bool,
}

/// The text of an issued document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedText {
    /// The JSON, as it was issued.
    pub json: String,
    /// SHA-256 of it, in hexadecimal digits.
    pub sha256: String,
}

impl Document {
    /// What people call it: its number, else its id, else `preview`.
    #[must_use]
    pub fn shown_number(&self) -> &str {
        match (&self.number, &self.id) {
            (Some(number), _) => number.as_str(),
            (None, Some(id)) => id.as_str(),
            (None, None) => "preview",
        }
    }

    /// The day of issue, by the customer's calendar.
    #[must_use]
    pub fn issue_date(&self) -> Option<NaiveDate> {
        let zone = self.period.time_zone;
        self.issued_at.map(|instant| instant.with_timezone(&zone).date_naive())
    }

    /// Whether it takes money back.
    #[must_use]
    pub fn is_credit(&self) -> bool {
        matches!(self.kind, Kind::CreditNote { .. })
    }

    /// An amount as it changes what the buyer owes: below zero on a credit note.
    #[must_use]
    pub fn signed(&self, amount: Decimal) -> Decimal {
        let mut signed = amount;
        if self.is_credit() && !amount.is_zero() {
            signed.set_sign_positive(amount.is_sign_negative());
        }
        signed
    }

    /// What prepaid credit pays, before or after tax: lines and taxes less the total.
    #[must_use]
    pub fn prepaid(&self) -> Decimal {
        let lines = self.lines.iter().map(|line| line.amount);
        let taxes = self.taxes.iter().map(|tax| tax.amount);
        let owed = lines.chain(taxes).fold(Decimal::ZERO, Decimal::saturating_add);
        owed.saturating_sub(self.total)
    }

    /// Whether credit pays before tax: then the lines are more than the net.
    #[must_use]
    pub fn is_prepaid_before_tax(&self) -> bool {
        self.gross == self.total && !self.prepaid().is_zero()
    }

    /// What the charge that made a line's amount is called; absent where none did.
    #[must_use]
    pub fn charge_name<'d>(&'d self, line: &'d Line) -> Option<&'d str> {
        let version = line.charge.as_ref()?;
        let applied = self.charges.iter().find(|applied| applied.charge == *version);
        Some(applied.map_or(version.as_str(), |applied| applied.name.as_str()))
    }

    /// What its buyer calls a project.
    #[must_use]
    pub fn project_name<'d>(&'d self, id: &'d ProjectId) -> &'d str {
        self.projects
            .iter()
            .find(|project| project.id == *id)
            .map_or(id.as_str(), |project| project.name.as_str())
    }
}
