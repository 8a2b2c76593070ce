//! What rows add up to: tokens by class, exact costs by currency.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use permille_ledger::{ArchiveFile, ArchiveRow};
use permille_types::{TokenClass, TokenCount};

use crate::{ArchiveError, money, schema};

/// Sums of rows of one day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    pub(crate) held: u64,
    pub(crate) tokens: BTreeMap<TokenClass, TokenCount>,
    /// In units of 10^-20.
    pub(crate) amounts: BTreeMap<String, i128>,
}

impl Tally {
    /// Adds a row of the ledger.
    pub(crate) fn add_row(&mut self, day: NaiveDate, row: &ArchiveRow) -> Result<(), ArchiveError> {
        for (class, tokens) in &row.usage.tokens {
            self.add_tokens(day, class, *tokens)?;
        }
        let currency = row.usage.currency.map(|currency| currency.code());
        let cost = schema::cost(row)?;
        self.add_cost(day, cost.zip(currency))
    }

    pub(crate) fn add_tokens(
        &mut self,
        day: NaiveDate,
        class: &TokenClass,
        tokens: u64,
    ) -> Result<(), ArchiveError> {
        let sum = self.tokens.entry(class.clone()).or_default();
        *sum = sum.checked_add(tokens).ok_or(ArchiveError::Sum { day, what: "tokens" })?;
        Ok(())
    }

    /// Counts a row with its cost; a row without one is held.
    pub(crate) fn add_cost(
        &mut self,
        day: NaiveDate,
        cost: Option<(i128, &str)>,
    ) -> Result<(), ArchiveError> {
        let too_much = |what| ArchiveError::Sum { day, what };
        self.rows = self.rows.checked_add(1).ok_or_else(|| too_much("rows"))?;
        let Some((cost, currency)) = cost else {
            self.held = self.held.checked_add(1).ok_or_else(|| too_much("held rows"))?;
            return Ok(());
        };
        let sum = self.amounts.entry(currency.to_owned()).or_default();
        *sum = sum.checked_add(cost).ok_or_else(|| too_much("costs"))?;
        Ok(())
    }

    /// The sums of costs as decimals.
    pub(crate) fn amounts_text(&self) -> BTreeMap<String, String> {
        self.amounts.iter().map(|(code, sum)| (code.clone(), money::text(*sum))).collect()
    }

    /// Whether a file is said to hold just this.
    pub(crate) fn is_of(&self, file: &ArchiveFile) -> bool {
        (self.rows, self.held) == (file.rows, file.held)
            && self.tokens == file.tokens
            && self.amounts_text() == file.amounts
    }
}
