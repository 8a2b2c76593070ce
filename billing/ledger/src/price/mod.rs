//! The stored price book: every entry that ever was in it, and which of them hold when.
//!
//! Entries are immutable and named by their content; importing one again changes nothing. What
//! changes is until when an entry holds:
//! - an open entry may be given its end, once;
//! - a later entry of the same model, provider and currency takes over at its `from`. The earlier
//!   one does not come back when the later one ends: what nobody has priced is unpriced (B4);
//! - the operator's entry of a model takes over from the built-in ones of that model and currency,
//!   for good: a new release never changes a price that the operator has set.
//!
//! - a percentage and the amounts that it is of hold together. The operator's later amounts for the
//!   same model end the percentage; amounts that come with a release do not.
//!
//! Prices that are derived from two entries are kept beside them once a row was priced by one.
//!
//! None of this touches usage that was priced before: its row names the version (B3).

mod effective;
mod repo;

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use permille_rating::import::{Diff, diff};
use permille_rating::price_book::{PriceBook, PriceBookError, check_price, names, price_version};
use permille_types::{Currency, CustomerId, Price, PriceVersion, Relative, Side};
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use effective::{effective, holding};
pub(crate) use repo::all;

use crate::{
    Instruction, Ledger, LedgerError, Listing, Page, Rerated,
    audit::{self, Call, Subject},
    catalogue::Catalogue,
    column, customer,
    stated::refuse_other_currency,
    store::Connection,
};

/// What the audit trail calls the book.
const BOOK: Subject<'static> = Subject { noun: "prices", id: "book" };
/// Entries of one import that the trail names, before it only counts.
const VERSIONS_TOLD_MAX: usize = 20;

/// Who put an entry into the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriceOrigin {
    /// It comes with Permille.
    BuiltIn,
    /// The operator imported or configured it.
    Operator,
    /// It follows from two others and priced a row.
    Derived,
}

impl PriceOrigin {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built_in",
            Self::Operator => "operator",
            Self::Derived => "derived",
        }
    }
}

/// An entry as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredPrice {
    pub(crate) price: Price,
    pub(crate) origin: PriceOrigin,
    pub(crate) ordinal: i64,
    pub(crate) added_at: DateTime<Utc>,
}

impl StoredPrice {
    pub(crate) fn version(&self) -> &PriceVersion {
        &self.price.version
    }
}

/// An entry of the price book and when it holds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ListedPrice {
    /// The entry; its `until` is when it was given an end or something took over.
    pub price: Price,
    /// Who put it into the book.
    pub origin: PriceOrigin,
    /// Whether it never holds any more, because something took over from its first instant on.
    pub superseded: bool,
    /// When it was added.
    pub added_at: DateTime<Utc>,
}

/// Which entries to list. An absent part does not restrict.
#[derive(Debug, Clone, Default)]
pub struct PriceFilter {
    /// A model's name: entries whose name or glob matches it, or that are written just so.
    pub model: Option<String>,
    /// The currency.
    pub currency: Option<Currency>,
    /// An instant at which the entry holds.
    pub at: Option<DateTime<Utc>>,
    /// Who looks: they see what everyone is charged and their own entries.
    pub reader: Option<CustomerId>,
}

/// What an import changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceImport {
    /// Entries that are new.
    pub added: Vec<PriceVersion>,
    /// Open entries that were given their end.
    pub ended: Vec<PriceVersion>,
    /// How many entries were there already.
    pub unchanged: u64,
    /// What was held and now has a price.
    pub rerated: Rerated,
}

impl Ledger {
    /// Adds those of `prices` that the book does not have, then prices what was held for want of a
    /// price. All entries or none are added.
    ///
    /// # Errors
    /// [`LedgerError::PriceBook`] when the book would contradict itself; [`LedgerError::Invalid`]
    /// for an entry that no price file could hold, whose version is not that of its content, or
    /// that is a customer's in another currency than the customer pays; else the store's failure.
    pub async fn import_prices(
        &self,
        prices: &[Price],
        origin: PriceOrigin,
    ) -> Result<PriceImport, LedgerError> {
        let mut tx = self.store.write().await?;
        let mut import = put(&mut tx, prices, origin, self.now()).await?;
        if import.changes() {
            self.commit_change(tx).await?;
        } else {
            drop(tx);
        }
        // Always: a stop between the commit and this must not leave anything held.
        import.rerated = self.rerate_held().await?;
        Ok(import)
    }

    /// Imports those of the operator's `prices` that change something, by whom the trail of the
    /// book then names: what they changed, and what was priced then. Under one idempotency key they
    /// are imported once; what is held for want of a price is looked at each time.
    ///
    /// # Errors
    /// As [`Ledger::import_prices`]; [`LedgerError::Entries`] where an amount changes a hundredfold
    /// unless `accept_jumps`; [`LedgerError::Refused`] when the key was spent on another call.
    pub async fn import_prices_by(
        &self,
        prices: &[Price],
        accept_jumps: bool,
        instruction: &Instruction,
    ) -> Result<(Diff, Rerated), LedgerError> {
        let request = audit::digest(&(prices, accept_jumps));
        let subject = Subject { noun: "terms", id: "prices" };
        let call = Call { subject, action: "import", request: &request };
        let now = self.now();
        let mut tx = self.store.write().await?;
        let diff = if let Some(before) = call.before(&mut tx, instruction).await? {
            drop(tx);
            column::json("audit.result", &before.result.unwrap_or_default())?
        } else {
            let catalogue = self.current(&mut tx).await?;
            let diff = difference(&mut tx, &catalogue, prices).await?;
            if !accept_jumps {
                refuse_jump(&diff)?;
            }
            let import = put(&mut tx, &diff.prices(), PriceOrigin::Operator, now).await?;
            let answer = column::to_json("answer to prices", &diff)?;
            call.spend(&mut tx, Some(&answer), instruction, now).await?;
            if import.changes() {
                let detail = import.told();
                audit::note(&mut tx, BOOK, call.action, Some(&detail), instruction, now).await?;
                self.commit_change(tx).await?;
            } else {
                self.commit(tx).await?;
            }
            diff
        };
        // Always: a stop between the commit and this must not leave anything held.
        Ok((diff, self.rerate_held().await?))
    }

    /// What an import of `prices` would change. Stores nothing.
    ///
    /// # Errors
    /// [`LedgerError::PriceBook`] when they contradict each other, [`LedgerError::Invalid`] for one
    /// that [`Ledger::import_prices`] refuses, else the store's failure.
    pub async fn diff_prices(&self, prices: &[Price]) -> Result<Diff, LedgerError> {
        let catalogue = self.catalogue.borrow().clone();
        let mut reader = self.store.read().await?;
        difference(&mut reader, &catalogue, prices).await
    }

    /// Entries by model, provider, currency and `from`.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a cursor that is no version in the book.
    pub fn prices(
        &self,
        filter: &PriceFilter,
        page: &Page,
    ) -> Result<Listing<ListedPrice>, LedgerError> {
        let catalogue = self.catalogue.borrow().clone();
        let mut matching = catalogue.prices().iter().filter(|listed| filter.matches(listed));
        if !page.after().is_empty() {
            matching
                .by_ref()
                .find(|listed| listed.price.version.as_str() == page.after())
                .ok_or_else(|| {
                    LedgerError::invalid("cursor", page.after(), "the `next_cursor` of a page")
                })?;
        }
        let rows = usize::try_from(page.rows()).unwrap_or(usize::MAX);
        let items = matching.take(rows).cloned().collect();
        Ok(Listing::cut(page, items, |listed| listed.price.version.to_string()))
    }

    /// The entry of that version, or the derived price that priced a row.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn price(&self, version: &PriceVersion) -> Result<ListedPrice, LedgerError> {
        let catalogue = self.catalogue.borrow().clone();
        let entry = catalogue.prices().iter().find(|listed| listed.price.version == *version);
        if let Some(listed) = entry {
            return Ok(listed.clone());
        }
        let mut reader = self.store.read().await?;
        let stored = repo::find(&mut reader, version).await?;
        let StoredPrice { price, origin, added_at, .. } =
            stored.ok_or_else(|| LedgerError::not_found("price version", version))?;
        Ok(ListedPrice { price, origin, superseded: false, added_at })
    }

    /// The book that holds now, as rating and the gateway use it.
    #[must_use]
    pub fn price_book(&self) -> PriceBook {
        self.catalogue.borrow().book().clone()
    }
}

impl PriceFilter {
    fn matches(&self, listed: &ListedPrice) -> bool {
        let price = &listed.price;
        let holds_at = |at: DateTime<Utc>| {
            !listed.superseded && price.from <= at && price.until.is_none_or(|until| at < until)
        };
        self.currency.is_none_or(|currency| price.currency == currency)
            && self.at.is_none_or(holds_at)
            && self.model.as_deref().is_none_or(|model| names(&price.model, model))
            && listed.visible_to(self.reader.as_ref())
    }
}

impl ListedPrice {
    /// Whether a customer may see it: what everyone is charged, and what is their own.
    #[must_use]
    pub fn visible_to(&self, reader: Option<&CustomerId>) -> bool {
        reader.is_none_or(|reader| {
            let own = self.price.customer.as_ref();
            let is_markup = matches!(self.price.relative, Some(Relative::MarkupPercent(_)));
            let is_theirs = own.is_none_or(|own| own == reader);
            is_theirs && self.price.side == Side::Sale && !is_markup
        })
    }
}

/// Stores a derived price that prices a row, unless it is stored already.
pub(crate) async fn keep(
    connection: &mut Connection,
    price: &Price,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    repo::insert(connection, price, PriceOrigin::Derived, at).await.map(drop)
}

/// Those of `versions` that `catalogue` does not have yet: prices derived since it was read.
pub(crate) async fn derived_since(
    connection: &mut Connection,
    catalogue: &Catalogue,
    versions: impl Iterator<Item = &PriceVersion>,
) -> Result<HashMap<PriceVersion, Price>, LedgerError> {
    let missing: BTreeSet<_> =
        versions.filter(|version| catalogue.content(version).is_none()).collect();
    let mut found = HashMap::new();
    for version in missing {
        if let Some(stored) = repo::find(connection, version).await? {
            found.insert(version.clone(), stored.price);
        }
    }
    Ok(found)
}

impl PriceImport {
    fn changes(&self) -> bool {
        !self.added.is_empty() || !self.ended.is_empty()
    }

    /// What it changed, for the trail of the book.
    fn told(&self) -> String {
        let named = |versions: &[PriceVersion]| {
            let mut names: Vec<String> =
                versions.iter().take(VERSIONS_TOLD_MAX).map(ToString::to_string).collect();
            let more = versions.len().saturating_sub(VERSIONS_TOLD_MAX);
            if more > 0 {
                names.push(format!("and {more} more"));
            }
            names.join(", ")
        };
        let mut told = Vec::new();
        for (what, versions) in [("added", &self.added), ("ended", &self.ended)] {
            if !versions.is_empty() {
                told.push(format!("{} {what}: {}", versions.len(), named(versions)));
            }
        }
        told.join("; ")
    }
}

/// Puts into the book those of `prices` that it does not have, or their ends.
async fn put(
    connection: &mut Connection,
    prices: &[Price],
    origin: PriceOrigin,
    at: DateTime<Utc>,
) -> Result<PriceImport, LedgerError> {
    let mut import = PriceImport {
        added: Vec::new(),
        ended: Vec::new(),
        unchanged: 0,
        rerated: Rerated::default(),
    };
    for price in prices {
        check(price)?;
        refuse_customers_other_currency(connection, price).await?;
        if repo::insert(connection, price, origin, at).await? {
            import.added.push(price.version.clone());
        } else if repo::end(connection, price).await? {
            import.ended.push(price.version.clone());
        } else {
            import.unchanged = import.unchanged.saturating_add(1);
        }
    }
    Ok(import)
}

/// What `prices` would change.
async fn difference(
    connection: &mut Connection,
    catalogue: &Catalogue,
    prices: &[Price],
) -> Result<Diff, LedgerError> {
    prices.iter().try_for_each(check)?;
    PriceBook::new(prices.to_vec())?;
    for price in prices {
        refuse_customers_other_currency(connection, price).await?;
    }
    Ok(diff(&holding(catalogue.prices()), prices))
}

fn refuse_jump(diff: &Diff) -> Result<(), LedgerError> {
    let Some(jump) = diff.changed.iter().find(|change| change.jump) else { return Ok(()) };
    let reason = format!(
        "an amount of `{}` changes a hundredfold, probably by a slip of the unit; accepted: \
         smaller changes, or accept_jumps",
        jump.price.model
    );
    Err(LedgerError::Entries { reason })
}

/// Refuses a customer's own entry in a currency that the customer does not pay: it would hold for
/// nobody. A customer who does not exist yet may have prices.
async fn refuse_customers_other_currency(
    connection: &mut Connection,
    price: &Price,
) -> Result<(), LedgerError> {
    let Some(id) = &price.customer else { return Ok(()) };
    let Some(customer) = customer::find(connection, id).await? else { return Ok(()) };
    let whose = || format!("which {id} pays; this is {}", price.version);
    refuse_other_currency(Some(price.currency), customer.currency, whose)
}

/// Refuses an entry that no price file could hold, and one whose version is not that of its
/// content: two contents would share a name.
fn check(price: &Price) -> Result<(), LedgerError> {
    if price.derived.is_some() {
        let accepted = "an entry with amounts or a percentage of its own";
        return Err(LedgerError::invalid("derived", &price.version, accepted));
    }
    let expected = price_version(price)
        .map_err(|cause| LedgerError::invalid("model", &price.model, cause.to_string()))?;
    if expected != price.version {
        return Err(LedgerError::invalid("version", &price.version, expected.as_str()));
    }
    check_price(price).map_err(|cause| {
        let value = format!("{}: {cause}", price.version);
        LedgerError::invalid("price", &value, "what a `[[price]]` entry may say")
    })
}

impl From<PriceBookError> for LedgerError {
    fn from(cause: PriceBookError) -> Self {
        Self::PriceBook { cause: Box::new(cause) }
    }
}
