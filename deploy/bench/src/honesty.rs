//! Whether the gateway's figures are those of a gateway that meters: every request it served is
//! on exactly one usage row, with the tokens that the provider reported.

use std::{collections::HashSet, fmt, process::Stdio, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::Instant,
};

use crate::{
    error::BenchError,
    measure::Sample,
    subject::permille::{CUSTOMER, Installation},
    upstream::{COMPLETION_TOKENS, PROMPT_TOKENS},
};

/// Between two readings while rows are still on their way.
const AGAIN: Duration = Duration::from_millis(500);

/// What was sent through the gateway and what billing has of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Honesty {
    /// Requests that got their whole reply through the gateway.
    pub(crate) requests: u64,
    /// Requests that did not: what became of them is not known, so there must be none.
    pub(crate) errors: u64,
    /// Usage rows of the customer.
    pub(crate) rows: u64,
    /// Rows whose request id is on another row too.
    pub(crate) repeated: u64,
    /// Rows that do not say `complete` and `reported`.
    pub(crate) not_whole: u64,
    /// Tokens of all rows, in and out.
    pub(crate) tokens: u64,
}

/// The part of a usage row that is checked.
#[derive(Debug, Deserialize)]
struct Row {
    request_id: String,
    ended: String,
    source: String,
    input_total: Option<u64>,
    output_total: Option<u64>,
}

impl Honesty {
    /// Nothing sent, nothing found.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Counts what a measurement of the gateway sent.
    pub(crate) fn count(&mut self, sample: &Sample) {
        self.requests += sample.load.requests;
        self.errors += sample.load.errors;
    }

    /// Reads billing's rows, again while some are missing, until `deadline`.
    ///
    /// # Errors
    /// [`BenchError`] when the rows cannot be read.
    pub(crate) async fn read(
        self,
        installation: &Installation,
        deadline: Instant,
    ) -> Result<Self, BenchError> {
        loop {
            let found = self.read_once(installation).await?;
            if found.rows >= found.requests || Instant::now() + AGAIN >= deadline {
                return Ok(found);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn read_once(self, installation: &Installation) -> Result<Self, BenchError> {
        const NAMED: &str = "permille usage list";
        let failed = || BenchError::during(format!("run `{NAMED}`"));
        let mut child = installation
            .billing_command(&["usage", "list", "--customer", CUSTOMER])?
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed())?;
        let mut found = self;
        let mut seen = HashSet::new();
        if let Some(stdout) = child.stdout.take() {
            let mut lines = BufReader::new(stdout).lines();
            while let Some(line) = lines.next_line().await.map_err(failed())? {
                let row = serde_json::from_str(&line)
                    .map_err(|cause| BenchError::Answer { of: NAMED.to_owned(), cause })?;
                found.add(row, &mut seen);
            }
        }
        let status = child.wait().await.map_err(failed())?;
        if !status.success() {
            let said = "its reason above".to_owned();
            let (command, status) = (NAMED.to_owned(), status.to_string());
            return Err(BenchError::Refused { command, status, said });
        }
        Ok(found)
    }

    fn add(&mut self, row: Row, seen: &mut HashSet<String>) {
        self.rows += 1;
        self.repeated += u64::from(!seen.insert(row.request_id));
        self.not_whole += u64::from(row.ended != "complete" || row.source != "reported");
        // A row without a total is not whole, so that a missing figure is never taken for 0.
        let total = row.input_total.zip(row.output_total);
        self.not_whole += u64::from(total.is_none());
        self.tokens += total.map_or(0, |(input, output)| input + output);
    }

    /// Tokens that the provider reported for the requests.
    fn tokens_reported(&self) -> u64 {
        self.requests * (PROMPT_TOKENS + COMPLETION_TOKENS)
    }

    /// Whether every request is on exactly one row with its tokens.
    pub(crate) fn holds(&self) -> bool {
        let counts = self.rows == self.requests && self.tokens == self.tokens_reported();
        counts && self.errors == 0 && self.repeated == 0 && self.not_whole == 0
    }
}

impl fmt::Display for Honesty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds() { "holds" } else { "FAILS" };
        writeln!(f, "Metering check: {verdict}\n")?;
        writeln!(f, "| | through the gateway | in billing |")?;
        writeln!(f, "|---|---:|---:|")?;
        writeln!(f, "| requests, usage rows | {} | {} |", self.requests, self.rows)?;
        writeln!(f, "| tokens | {} | {} |", self.tokens_reported(), self.tokens)?;
        writeln!(f, "| failed requests | {} | |", self.errors)?;
        writeln!(f, "| rows with the request id of another | | {} |", self.repeated)?;
        write!(f, "| rows not complete and reported | | {} |", self.not_whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"{"request_id":"r1","ended":"complete","source":"reported",
        "input_total":123,"output_total":45,"currency":"USD"}"#;

    fn found(requests: u64, rows: &[&str]) -> Honesty {
        let mut honesty = Honesty { requests, ..Honesty::new() };
        let mut seen = HashSet::new();
        for row in rows {
            honesty.add(serde_json::from_str(row).unwrap(), &mut seen);
        }
        honesty
    }

    #[test]
    fn one_whole_row_for_each_request_holds() {
        let second = ROW.replace("r1", "r2");

        assert!(found(2, &[ROW, &second]).holds());
        assert!(found(0, &[]).holds());
    }

    #[test]
    fn a_missing_doubled_or_unwhole_row_fails() {
        let estimated = ROW.replace("reported", "estimated");
        let without_total = ROW.replace("\"output_total\":45", "\"output_total\":null");

        assert!(!found(2, &[ROW]).holds());
        assert!(!found(1, &[ROW, ROW]).holds());
        assert!(!found(2, &[ROW, ROW]).holds());
        assert!(!found(1, &[&estimated]).holds());
        assert!(!found(1, &[&without_total]).holds());
    }

    #[test]
    fn a_token_too_few_fails() {
        assert!(!found(1, &[&ROW.replace("45", "44")]).holds());
    }

    #[test]
    fn a_failed_request_fails_because_its_row_cannot_be_foretold() {
        assert!(!Honesty { errors: 1, ..found(1, &[ROW]) }.holds());
    }
}
