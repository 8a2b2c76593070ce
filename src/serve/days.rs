//! The days of usage: made ahead, and dropped when the configuration says so.

use std::time::Duration;

use chrono::{Days, NaiveDate};
use permille_service::Billing;
use tokio_util::sync::CancellationToken;

use crate::config::Retention;

/// Between two looks: a day that may go waits for an hour at most, and a look that failed, because
/// somebody read for long, comes again soon enough.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// Looks after the days until it is told to stop.
pub(super) async fn keep(billing: Billing, retention: Retention, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = look(&billing, retention) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn look(billing: &Billing, retention: Retention) {
    let ledger = billing.ledger();
    if let Err(error) = ledger.make_days().await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "days of usage not made ahead; a batch makes what it needs");
    }
    let Some(usage_days) = retention.usage_days else { return };
    let Some(before) = days_ago(ledger.time().date_naive(), usage_days) else { return };
    match ledger.drop_usage(before, None, false).await {
        Ok(found) => {
            let (kept, dropped): (Vec<_>, Vec<_>) =
                found.days.into_iter().partition(|day| day.kept.is_some());
            for day in dropped {
                let requests = day.requests.unwrap_or_default();
                tracing::info!(day = %day.day, requests, "a day of usage was dropped");
            }
            // One line an hour, however many days wait for the close of their month.
            if let Some(first) = kept.first() {
                let (days, why) = (kept.len(), first.kept.as_deref().unwrap_or_default());
                tracing::warn!(days, first = %first.day, why, "old days of usage are kept");
            }
        }
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "old days of usage not dropped");
        }
    }
    let Some(before) = days_ago(ledger.time().date_naive(), retention.replay_days) else { return };
    match ledger.forget_keys(before).await {
        Ok(0) => {}
        Ok(keys) => tracing::info!(keys, %before, "keys of dropped usage were deleted"),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "keys of dropped usage not deleted");
        }
    }
}

fn days_ago(today: NaiveDate, days: u32) -> Option<NaiveDate> {
    today.checked_sub_days(Days::new(days.into()))
}
