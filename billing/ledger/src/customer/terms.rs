//! What an invoice of a customer says beside its lines: taxes, address, order, notes.

use permille_rating::invoice::{TaxError, TaxTerms};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

use crate::{Customer, LedgerError, slug, text};

/// Longest tax id, in bytes; the longest in use have about 20.
const TAX_ID_BYTES_MAX: usize = 64;
/// Longest number of a purchase order, in bytes.
const PURCHASE_ORDER_BYTES_MAX: usize = 256;
/// Longest address, in bytes: ten full lines.
const ADDRESS_BYTES_MAX: usize = 1_000;
/// Longest notes, in bytes: half a page.
const NOTES_BYTES_MAX: usize = 2_000;

/// What the invoices of a customer say beside their lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CustomerTerms {
    /// How they are taxed.
    pub tax: TaxTerms,
    /// The customer's tax id; a reverse charge needs one.
    pub tax_id: Option<String>,
    /// Where the invoice is sent, in lines.
    pub billing_address: Option<String>,
    /// The order that the customer wants to read on it.
    pub purchase_order: Option<String>,
    /// What else stands on it, in lines.
    pub notes: Option<String>,
}

/// What becomes of a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TextChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is this from now on.
    Set(String),
    /// It is taken away.
    Clear,
}

impl TextChange {
    fn of(self, before: Option<String>) -> Option<String> {
        match self {
            Self::Keep => before,
            Self::Set(text) => Some(text),
            Self::Clear => None,
        }
    }
}

/// `null` takes a text away; a field that is not there keeps it (`#[serde(default)]`).
impl<'de> Deserialize<'de> for TextChange {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let given = Option::<String>::deserialize(d)?;
        Ok(given.map_or(Self::Clear, Self::Set))
    }
}

impl JsonSchema for TextChange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TextChange".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<String>::json_schema(generator)
    }
}

/// Changes of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CustomerChanges {
    /// The name, as an invoice shows it; an absent one stays.
    pub name: Option<String>,
    /// How they are taxed; absent terms stay.
    pub tax: Option<TaxTerms>,
    /// The tax id.
    pub tax_id: TextChange,
    /// The address.
    pub billing_address: TextChange,
    /// The purchase order.
    pub purchase_order: TextChange,
    /// The notes.
    pub notes: TextChange,
}

impl CustomerTerms {
    /// Themselves, if an invoice can say so.
    pub(super) fn checked(self) -> Result<Self, LedgerError> {
        let tax = self.tax.checked().map_err(|TaxError { field, value, accepted }| {
            LedgerError::Invalid { field, value, accepted }
        })?;
        if tax == TaxTerms::ReverseCharge && self.tax_id.is_none() {
            let accepted = "the customer's tax id, which a reverse charge needs";
            return Err(LedgerError::invalid("tax_id", "", accepted));
        }
        Ok(Self {
            tax,
            tax_id: line("tax_id", self.tax_id.as_deref(), TAX_ID_BYTES_MAX)?,
            billing_address: self
                .billing_address
                .map(|given| text::lines("billing_address", &given, ADDRESS_BYTES_MAX).map(owned))
                .transpose()?,
            purchase_order: purchase_order(self.purchase_order.as_deref())?,
            notes: notes(self.notes.as_deref())?,
        })
    }
}

impl CustomerChanges {
    /// `customer` with these changes, and the names of the fields that are others now.
    pub(super) fn of(
        self,
        customer: &Customer,
    ) -> Result<(Customer, Vec<&'static str>), LedgerError> {
        let before = customer.clone();
        let name = match &self.name {
            Some(name) => slug::checked_name(name)?.to_owned(),
            None => before.name,
        };
        let terms = CustomerTerms {
            tax: self.tax.unwrap_or(before.tax),
            tax_id: self.tax_id.of(before.tax_id),
            billing_address: self.billing_address.of(before.billing_address),
            purchase_order: self.purchase_order.of(before.purchase_order),
            notes: self.notes.of(before.notes),
        };
        let CustomerTerms { tax, tax_id, billing_address, purchase_order, notes } =
            terms.checked()?;
        let changed = Customer {
            name,
            tax,
            tax_id,
            billing_address,
            purchase_order,
            notes,
            ..customer.clone()
        };
        let fields = [
            ("name", changed.name != customer.name),
            ("tax", changed.tax != customer.tax),
            ("tax_id", changed.tax_id != customer.tax_id),
            ("billing_address", changed.billing_address != customer.billing_address),
            ("purchase_order", changed.purchase_order != customer.purchase_order),
            ("notes", changed.notes != customer.notes),
        ];
        let fields = fields.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name);
        Ok((changed, fields.collect()))
    }
}

/// A purchase order as an invoice shows it.
pub(crate) fn purchase_order(given: Option<&str>) -> Result<Option<String>, LedgerError> {
    line("purchase_order", given, PURCHASE_ORDER_BYTES_MAX)
}

/// Notes as an invoice shows them.
pub(crate) fn notes(given: Option<&str>) -> Result<Option<String>, LedgerError> {
    given.map(|given| text::lines("notes", given, NOTES_BYTES_MAX).map(owned)).transpose()
}

fn line(
    field: &'static str,
    given: Option<&str>,
    bytes_max: usize,
) -> Result<Option<String>, LedgerError> {
    given.map(|given| text::line(field, given, bytes_max).map(owned)).transpose()
}

fn owned(text: &str) -> String {
    text.to_owned()
}
