//! Documents written out: one at a time is turned into pages or streamed, in bounded memory.
//!
//! What a document says is read here from the ledger; how it is written, in `permille-documents`.

mod fonts;
mod list;
mod read;

pub(crate) use read::frozen;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use futures_util::stream;
use permille_documents::{
    Document, DocumentError, Export, Exporter, Fonts, Format, Grain, Issuer, Language, Statement,
};
use permille_ledger::{InvoiceIssuer, InvoicedUsage, Ledger, LedgerError};
use permille_types::InvoiceId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task,
};

use crate::problem::Problem;

/// Exports that run at once: each may use a core for seconds. Others wait.
const EXPORTS_MAX: usize = 2;
/// How long an export waits for its place, before whoever asked is told to come again: those before
/// it end within seconds, unless their clients are slow.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Bytes that are gathered before they are sent.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that wait for a client to take them.
const CHUNKS_WAITING_MAX: usize = 4;
/// How long a client may take for a chunk before its place is given to another one.
const CHUNK_WAIT_MAX: Duration = Duration::from_mins(1);

/// What all exports of this billing share.
#[derive(Debug)]
pub(crate) struct Exports {
    issuer: Issuer,
    /// Files and folders of fonts, before those of the system.
    fonts: Vec<PathBuf>,
    places: Arc<Semaphore>,
}

/// How a document is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) format: Format,
    pub(crate) grain: Grain,
    pub(crate) language: Language,
}

/// A document that is being written.
pub(crate) struct Written {
    pub(crate) file_name: String,
    pub(crate) body: Body,
}

/// Why a document is not written.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Fonts(#[from] fonts::FontsError),
    #[error("a task of an export ended early")]
    Task(#[source] task::JoinError),
    #[error("the client takes nothing")]
    ClientGone,
}

impl Exports {
    pub(crate) fn new(issuer: Issuer, fonts: Vec<PathBuf>) -> Self {
        Self { issuer, fonts, places: Arc::new(Semaphore::new(EXPORTS_MAX)) }
    }

    /// Writes an invoice.
    pub(crate) async fn invoice(
        &self,
        ledger: &Ledger,
        id: &InvoiceId,
        wanted: Wanted,
    ) -> Result<Written, Problem> {
        let place = self.place().await?;
        let usage = ledger.invoiced_usage(id).await?;
        let mut document = read::invoice(&usage);
        if wanted.format == Format::Focus {
            list::tell(ledger, &mut document).await?;
        }
        let file_name = wanted.format.file_name(&document, wanted.grain);
        let issuer = self.issuer_of(usage.invoice.issuer.as_ref());
        let export = self.export(document, issuer, wanted).await?;
        let exporter = Exporter::new(export, &usage.sums)?;
        let body = started(ledger.clone(), Some(usage), exporter, place).await?;
        Ok(Written { file_name, body })
    }

    /// Writes a credit note.
    pub(crate) async fn credit_note(
        &self,
        ledger: &Ledger,
        id: &str,
        wanted: Wanted,
    ) -> Result<Written, Problem> {
        let place = self.place().await?;
        let note = ledger.credit_note(id).await?;
        let text = ledger.credit_note_document(id).await?;
        let invoice = ledger.invoice(&note.invoice.id).await?;
        let document = read::credit_note(&note, &invoice, text);
        let file_name = wanted.format.file_name(&document, wanted.grain);
        let issuer = self.issuer_of(note.issuer.as_ref());
        let exporter = Exporter::new(self.export(document, issuer, wanted).await?, &[])?;
        let body = started(ledger.clone(), None, exporter, place).await?;
        Ok(Written { file_name, body })
    }

    /// Writes a report that people sign as PDF.
    pub(crate) async fn statement(&self, statement: Statement) -> Result<Vec<u8>, Problem> {
        let _place = self.place().await?;
        let given = self.fonts.clone();
        // Pages take a second of a core: no other request must wait for them.
        let written = task::spawn_blocking(move || {
            let fonts = fonts::find(&given)?;
            Ok::<_, ExportError>(statement.pdf(&fonts)?)
        });
        Ok(written.await.map_err(ExportError::Task)??)
    }

    /// Who issued a document: as it says itself, else as the configuration says now.
    fn issuer_of(&self, issued_by: Option<&InvoiceIssuer>) -> Issuer {
        match issued_by {
            Some(issuer) => read::issuer(issuer, self.issuer.logo.clone()),
            None => self.issuer.clone(),
        }
    }

    async fn export(
        &self,
        document: Document,
        issuer: Issuer,
        wanted: Wanted,
    ) -> Result<Export, Problem> {
        let Wanted { format, grain, language } = wanted;
        let fonts = if format == Format::Pdf {
            let given = self.fonts.clone();
            task::spawn_blocking(move || fonts::find(&given)).await.map_err(ExportError::Task)??
        } else {
            Fonts::default()
        };
        Ok(Export { document, issuer, fonts, format, grain, language })
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(PLACE_WAIT_MAX, place).await {
            Ok(place) => place.map_err(|_| Problem::busy("exports have ended")),
            Err(_) => Err(Problem::busy("other exports are being made; ask again in a minute")),
        }
    }
}

/// The body, once its first bytes are there: what is refused before them is a problem document.
async fn started(
    ledger: Ledger,
    usage: Option<InvoicedUsage>,
    exporter: Exporter,
    place: OwnedSemaphorePermit,
) -> Result<Body, Problem> {
    let (chunks, mut taken) = mpsc::channel(CHUNKS_WAITING_MAX);
    tokio::spawn(async move {
        let done = write(&ledger, usage, exporter, &chunks).await;
        drop(place);
        match done {
            Ok(()) | Err(ExportError::ClientGone) => {}
            // Whoever waits for bytes is told; the connection of whoever has some is cut.
            Err(error) => {
                let told = chunks.send_timeout(Err(error), CHUNK_WAIT_MAX).await;
                if told.is_err() {
                    tracing::debug!("a client left before it was told why an export failed");
                }
            }
        }
    });
    let first = match taken.recv().await {
        None => Bytes::new(),
        Some(first) => first?,
    };
    let rest = stream::unfold((Some(first), taken), async |(first, mut taken)| {
        let chunk = match first {
            Some(first) => Ok(first),
            None => taken.recv().await?.map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "an export broke off");
                io::Error::other(error)
            }),
        };
        Some((chunk, (None, taken)))
    });
    Ok(Body::from_stream(rest))
}

async fn write(
    ledger: &Ledger,
    usage: Option<InvoicedUsage>,
    mut exporter: Exporter,
    chunks: &mpsc::Sender<Result<Bytes, ExportError>>,
) -> Result<(), ExportError> {
    let mut out = Vec::with_capacity(CHUNK_BYTES);
    if let Some(mut usage) = usage.filter(|_| exporter.wants_requests()) {
        loop {
            let events = ledger.next_invoiced(&mut usage).await?;
            if events.is_empty() {
                break;
            }
            let requests: Vec<_> = events.into_iter().map(read::request).collect();
            exporter.take(&requests, &mut out)?;
            if out.len() >= CHUNK_BYTES {
                send(chunks, &mut out).await?;
            }
        }
    }
    // Pages take a second of a core: no other request must wait for them.
    let finished = task::spawn_blocking(move || exporter.finish(&mut out).map(|()| out));
    let mut out = finished.await.map_err(ExportError::Task)??;
    send(chunks, &mut out).await
}

async fn send(
    chunks: &mpsc::Sender<Result<Bytes, ExportError>>,
    out: &mut Vec<u8>,
) -> Result<(), ExportError> {
    let chunk = Bytes::from(std::mem::take(out));
    let sent = chunks.send_timeout(Ok(chunk), CHUNK_WAIT_MAX).await;
    sent.map_err(|_| ExportError::ClientGone)
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        match &error {
            DocumentError::NotExpressible { .. }
            | DocumentError::NoGlyph { .. }
            | DocumentError::NoFont
            | DocumentError::Logo { .. } => Self::not_expressible(error.to_string()),
            DocumentError::UsageChanged { .. } => Self::conflict(error.to_string()),
            _ => {
                tracing::error!(error = &error as &dyn std::error::Error, "an export failed");
                Self::export_failed(&error)
            }
        }
    }
}

impl From<fonts::FontsError> for Problem {
    fn from(error: fonts::FontsError) -> Self {
        Self::not_expressible(error.to_string())
    }
}

impl From<ExportError> for Problem {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Ledger(cause) => cause.into(),
            ExportError::Document(cause) => cause.into(),
            ExportError::Fonts(cause) => cause.into(),
            ExportError::Task(_) | ExportError::ClientGone => {
                tracing::error!(error = &error as &dyn std::error::Error, "an export failed");
                Self::export_failed(&error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_export_waits_for_its_place_no_longer_than_half_a_minute() {
        let exports = Exports::new(Issuer::default(), Vec::new());
        let begun = tokio::time::Instant::now();
        let mut taken = Vec::new();
        for _ in 0..EXPORTS_MAX {
            taken.push(exports.place().await.unwrap());
        }

        let refused = exports.place().await.unwrap_err();

        assert!(format!("{refused:?}").contains("other exports are being made"), "{refused:?}");
        assert_eq!(begun.elapsed(), PLACE_WAIT_MAX);
        taken.pop();
        drop(exports.place().await.unwrap());
    }
}
