//! Storage of customers, keys, prices, usage, sessions, invoices and postings.
//!
//! One [`Ledger`] per database. It takes batches of usage events in ([`Ledger::accept`]), prices
//! them by the arithmetic of `permille-rating`, and answers what was used and what it costs.
//! It is not a server and knows no roles: who may ask what is decided in `permille-service`.
//!
//! Each noun has a folder: `mod.rs` is its interface, `repo.rs` holds all of its SQL.
#![deny(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::float_arithmetic)]

mod archive;
mod audit;
mod billed;
mod catalogue;
mod charge;
mod checkpoint;
mod close;
mod column;
mod credit_note;
mod customer;
mod dispute;
mod error;
mod fx;
mod grant;
mod intake;
mod invoice;
mod invoiced;
mod key;
mod limit;
mod margin;
mod page;
mod pepper;
mod plan;
mod posting;
mod prepaid;
mod price;
mod project;
mod quarantine;
mod reconciliation;
mod record;
mod rollup;
mod secret;
mod series;
mod session;
mod simulation;
mod slug;
mod spending;
mod sql;
mod stated;
mod step;
mod store;
mod stored_response;
mod summary;
mod text;
mod token;
mod usage;
mod webhook;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use permille_types::Clock;
use tokio::sync::watch;

pub use archive::{ArchiveFile, ArchiveRow, DueDay};
pub use audit::{Actor, AuditEntry, Instruction};
pub use catalogue::SnapshotChanges;
pub use charge::ListedCharge;
pub use checkpoint::Checkpoint;
pub use close::{Check, Close, CloseState, CloseStep, Signature, SignedAmounts, SignedSum};
pub use credit_note::{
    CREDIT_NOTE_VERSION, CreditNote, CreditNoteLine, CreditNoteSummary, CreditedInvoice, NewCredit,
};
pub use customer::{Customer, CustomerChanges, CustomerTerms, NewCustomer, TextChange};
pub use dispute::{Dispute, DisputeState, DisputedRequest, Evidence, NewDispute, Resolution};
pub use error::LedgerError;
pub use fx::{FX_RATES_AT_ONCE_MAX, FxChange, FxFilter, FxImport};
pub use grant::{Grant, NewGrant};
pub use intake::{
    Accepted, BATCH_EVENTS_MAX, Billed, BilledCost, BilledRequest, BilledTokens, Rerated,
};
pub use invoice::{
    Beside, INVOICE_VERSION, InterimInvoice, Invoice, InvoiceCustomer, InvoiceIssuer,
    InvoicePeriod, InvoiceProject, InvoiceState, InvoiceSummary, InvoiceTexts, NewPayment,
    NotVerifiable, SeenTotal, Standing, ThresholdSweep, ThresholdsSeen, Verification,
    earlier_needed, recount_of, verify_invoice,
};
pub use invoiced::{InvoicedUsage, PricedEvent};
pub use key::{CreatedKey, Key, NewKey};
pub use limit::{Budget, Budgets, Change, LimitChanges, Limited, Limits, Per};
pub use margin::{
    MARGIN_GROUPS_MAX, MarginAmount, MarginBy, MarginFilter, MarginGroup, MarginLeftOut,
    MarginReport, MarginSums, UsedRate,
};
pub use page::{Listing, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, Page};
pub use pepper::Pepper;
pub use permille_rating::{
    fx::FxRate,
    import::Diff as PriceDiff,
    invoice::{CreditScope, TaxRate, TaxTerms},
};
pub use plan::{CustomerPlan, ListedPlan, NO_PLAN};
pub use posting::AccountBalance;
pub use prepaid::BalanceSweep;
pub use price::{ListedPrice, PriceFilter, PriceImport, PriceOrigin};
pub use project::{DEFAULT_PROJECT, NewProject, Project};
pub use quarantine::{QuarantineReason, QuarantineState, Quarantined};
pub use reconciliation::{
    NewReconciliation, PROVIDER_REQUESTS_MAX, ProviderCell, ProviderScope, Reconciliation,
    ReconciliationSignature, ReconciliationSummary,
};
pub use record::{RecordEntry, RecordHead};
pub use secret::{KEY_PREFIX, TOKEN_PREFIX, is_well_formed};
pub use session::{
    EndedSession, HiddenCost, InferredOutcome, OUTCOMES, Outcome, SESSION_IDLE, SESSION_ROWS_MAX,
    Session, SessionDetail, Told, ToldOutcome, Turn,
};
pub use simulation::{
    OneMoreTurn, SIMULATED_REQUESTS_MAX, SimulatedCustomer, Simulation, SimulationLeftOut, Trial,
};
pub use step::{Progress, STEP_CUSTOMERS_MAX, Step};
pub use store::{PostgresAddress, StoreAddress, StoreVersion};
pub use summary::{
    BreakEven, CurrencySummary, CustomerSummary, Distribution, Margin, OutcomeCost, Summary,
    SummaryFilter, TurnCost,
};
pub use token::{CreatedToken, ROLES, Role, Token, TokenId};
pub use usage::{AttemptRow, UsageDay, UsageDrop, UsageFilter, UsageRow};
pub use webhook::{
    Attempted, Delivery, DeliveryState, DueDelivery, EventKind, NewWebhook, SignedWebhook,
    WEBHOOK_SECRET_PREFIX, WEBHOOKS_MAX, Webhook, WebhookBacklog,
};

use catalogue::Catalogue;
use error::During;
use store::Store;

/// What a ledger needs to open.
pub struct LedgerConfig {
    /// Where the store is.
    pub store: StoreAddress,
    /// The secret under which keys and tokens are hashed.
    pub pepper: Pepper,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

/// The open store. Cheap to clone; all clones share connections.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<Store>,
    pepper: Pepper,
    clock: Arc<dyn Clock>,
    /// What rating and the gateway need of the store, at its newest version.
    catalogue: watch::Sender<Arc<Catalogue>>,
    /// What requests of invoiced months were billed, as far as somebody has asked.
    billed: Arc<billed::Cache>,
    /// Who issues what is drafted from now on.
    issuer: Option<Arc<InvoiceIssuer>>,
}

impl Ledger {
    /// Opens the store and brings its tables up to date.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be opened, migrated or read.
    pub async fn open(config: LedgerConfig) -> Result<Self, LedgerError> {
        let store = Store::open(&config.store).await?;
        let mut reader = store.read().await?;
        let catalogue = Catalogue::load(&mut reader).await?;
        drop(reader);
        let ledger = Self {
            store: Arc::new(store),
            pepper: config.pepper,
            clock: config.clock,
            catalogue: watch::Sender::new(Arc::new(catalogue)),
            billed: Arc::default(),
            issuer: None,
        };
        ledger.record_rows_of_before().await?;
        Ok(ledger)
    }

    /// How far the tables of a store are. Nothing is made or changed.
    ///
    /// # Errors
    /// [`LedgerError::Open`] when it is there and cannot be read.
    pub async fn version_of(store: &StoreAddress) -> Result<StoreVersion, LedgerError> {
        StoreVersion::of(store).await
    }

    /// The same store, whose invoices and credit notes name `issuer` from now on.
    #[must_use]
    pub fn issuing(self, issuer: Option<InvoiceIssuer>) -> Self {
        Self { issuer: issuer.map(Arc::new), ..self }
    }

    /// Whether the store answers now.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be read.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        let mut reader = self.store.read().await?;
        self.current(&mut reader).await.map(drop)
    }

    /// Writes a whole copy of the store as it is now into a file that is not there yet, while
    /// others go on writing to it. `false` where it is a database of a server, which has its own
    /// means.
    ///
    /// # Errors
    /// [`LedgerError`] when the store cannot be read or the file cannot be written.
    pub async fn copy_to(&self, path: &std::path::Path) -> Result<bool, LedgerError> {
        self.store.copy_to(path).await
    }

    /// Whether other processes may change the store too. What they changed of customers, projects,
    /// keys and prices is found at the next batch, or by [`Self::ping`].
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    /// Waits for running statements and closes the store. Later calls fail.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// The time by the ledger's own clock.
    #[must_use]
    pub fn time(&self) -> DateTime<Utc> {
        self.now()
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        column::stored_instant(self.clock.now())
    }

    /// Commits a change that neither rating nor the gateway needs to know.
    async fn commit(&self, tx: sql::Transaction) -> Result<(), LedgerError> {
        tx.commit().await.during("commit")
    }

    /// Commits a change of customers, projects, keys or prices under a new version, and lets
    /// everyone who waits for one know.
    async fn commit_change(&self, mut tx: sql::Transaction) -> Result<(), LedgerError> {
        catalogue::bump(&mut tx).await?;
        let catalogue = Catalogue::load(&mut tx).await?;
        tx.commit().await.during("commit")?;
        self.publish(Arc::new(catalogue));
        Ok(())
    }
}
