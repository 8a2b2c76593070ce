//! Counts a sample of the replies that report usage again, as an auditor would: nothing of it is
//! billed, what a provider reports too much is seen, and ratios are learnt for replies that report
//! nothing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use permille_limits::Budget;
use permille_types::{Endpoint, ModelName, RequestId, UpstreamName};
use permille_usage::{Audit, Corrections, Reading};

use crate::{config::Share, metering::Metering, record::counted_up};

/// Audits at once. Each holds a prompt and tokenizes up to 192 KiB of text for some twenty
/// milliseconds; the next reply of the sample is left out instead, and counted.
const AUDITS_MAX: u64 = 2;

/// See the module's text.
pub(crate) struct Auditor {
    sample: Share,
    places: Arc<Budget>,
    pub(crate) corrections: Corrections,
    file: PathBuf,
}

/// A reply of the sample.
pub(crate) struct Sampled {
    pub(crate) endpoint: Endpoint,
    pub(crate) upstream: UpstreamName,
    /// The model whose price it has.
    pub(crate) model: ModelName,
    pub(crate) request_body: Bytes,
    /// With its text.
    pub(crate) reading: Reading,
    pub(crate) ahead: Option<crate::record::SharedAhead>,
}

impl Auditor {
    /// Starts with what was learnt before, which is kept in `folder`.
    pub(crate) fn open(sample: Share, folder: &Path) -> Self {
        let file = folder.join("corrections.json");
        let corrections = match std::fs::read(&file) {
            Ok(bytes) => Corrections::from_json(&bytes).unwrap_or_else(|cause| {
                tracing::warn!(%cause, "what was learnt of models cannot be read");
                Corrections::default()
            }),
            Err(cause) => {
                if cause.kind() != std::io::ErrorKind::NotFound {
                    tracing::warn!(%cause, "what was learnt of models cannot be read");
                }
                Corrections::default()
            }
        };
        Self { sample, places: Budget::new(AUDITS_MAX), corrections, file }
    }

    /// Whether the reply to this request belongs to the sample: the same ones wherever it is asked.
    pub(crate) fn takes(&self, request: RequestId) -> bool {
        self.sample.takes(request)
    }

    /// Writes what was learnt; no work for the event loop.
    pub(crate) fn keep(&self) {
        let fresh = self.file.with_extension("json.new");
        let written = self
            .corrections
            .to_json()
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&fresh, bytes))
            .and_then(|()| std::fs::rename(&fresh, &self.file));
        if let Err(cause) = written {
            tracing::warn!(%cause, "what was learnt of models cannot be kept on disk");
        }
    }
}

/// Counts `sampled` again, off the event loop, if there is a place.
pub(crate) fn audit(metering: &Arc<Metering>, sampled: impl FnOnce() -> Option<Sampled>) {
    let Some(place) = metering.auditor.places.take(1) else {
        metering.metrics.audits.skipped.inc();
        return;
    };
    let Some(sampled) = sampled() else { return };
    let told_to = Arc::clone(metering);
    metering.off_the_loop(move || {
        let Sampled { endpoint, upstream, model, request_body, reading, ahead } = sampled;
        let ahead = ahead.as_ref().map(counted_up);
        let audit = Audit::of(&model, &reading, endpoint, &request_body, ahead.as_deref());
        if let Some(audit) = audit {
            audit.teach(&model, &told_to.auditor.corrections);
            told_to.metrics.audited(&upstream, &model, &audit);
        }
        drop(place);
    });
}
