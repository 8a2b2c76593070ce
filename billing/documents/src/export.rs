//! One document, written piece by piece: a head, what requests there are, an end.

use permille_rating::invoice::UsageSum;

use crate::{
    Document, DocumentError, Fonts, Format, Grain, Issuer, Kind, Language, Request,
    detail::{Apportion, Breakdown, Part, PartsOfSession, SessionTally},
    focus::Focus,
    journal, lines, pages, pdf, ubl,
};

/// Parts that are shared out at once: what bounds the memory of an export.
const PARTS_AT_ONCE: usize = 4_096;

/// What is to be written.
#[derive(Debug, Clone)]
pub struct Export {
    /// The document.
    pub document: Document,
    /// Who issues it.
    pub issuer: Issuer,
    /// What a PDF is set in; no other form needs any.
    pub fonts: Fonts,
    /// In which form.
    pub format: Format,
    /// What a CSV is broken down into.
    pub grain: Grain,
    /// Language of what people read.
    pub language: Language,
}

/// Writes one document. Requests go in by [`Exporter::take`] in the order of sessions and of
/// admission in them; what is ready is appended to the caller's buffer.
#[derive(Debug)]
pub struct Exporter {
    export: Export,
    breakdown: Breakdown,
    work: Work,
    is_begun: bool,
}

#[derive(Debug)]
enum Work {
    /// It is written at the end, from the document alone.
    Whole,
    /// Pages with a table of sessions, written at the end.
    Pages(SessionTally),
    /// Shares of sessions.
    Sessions {
        writer: SessionWriter,
        apportion: Apportion,
        session: PartsOfSession,
        waiting: Vec<Part>,
    },
    /// Shares of requests.
    Requests { apportion: Apportion },
}

#[derive(Debug)]
enum SessionWriter {
    Csv,
    Focus(Focus),
}

impl Exporter {
    /// Begins to write. `sums` are all quantities of the document's month that have a price, from
    /// the same view of the books as the requests.
    ///
    /// # Errors
    /// [`DocumentError`] when the form cannot say what the document says.
    pub fn new(export: Export, sums: &[UsageSum]) -> Result<Self, DocumentError> {
        let Export { document, issuer, format, grain, .. } = &export;
        let breakdown = Breakdown::new(document, sums);
        let apportion = || Apportion::new(document);
        let sessions = |writer| Work::Sessions {
            writer,
            apportion: apportion(),
            session: PartsOfSession::default(),
            waiting: Vec::new(),
        };
        let work = match (format, grain) {
            (Format::Focus, _) => sessions(SessionWriter::Focus(Focus::new(document, issuer)?)),
            (Format::Csv, Grain::Sessions) => sessions(SessionWriter::Csv),
            (Format::Csv, Grain::Requests) => Work::Requests { apportion: apportion() },
            (Format::Html | Format::Pdf, _) => Work::Pages(SessionTally::default()),
            _ => Work::Whole,
        };
        Ok(Self { breakdown, work, is_begun: false, export })
    }

    /// Whether requests change anything. A credit note has none.
    #[must_use]
    pub fn wants_requests(&self) -> bool {
        let is_invoice = matches!(self.export.document.kind, Kind::Invoice(_));
        is_invoice && !matches!(self.work, Work::Whole)
    }

    /// The next requests.
    ///
    /// # Errors
    /// [`DocumentError::UsageChanged`] when there are more than the document bills.
    pub fn take(&mut self, requests: &[Request], out: &mut Vec<u8>) -> Result<(), DocumentError> {
        self.begin(out)?;
        let Self { export, breakdown, work, .. } = self;
        let document = &export.document;
        match work {
            Work::Whole => {}
            Work::Pages(tally) => {
                for request in requests {
                    tally.next(document, breakdown, request)?;
                }
            }
            Work::Sessions { writer, apportion, session, waiting } => {
                for request in requests {
                    waiting.extend(session.next(breakdown, request));
                    if waiting.len() >= PARTS_AT_ONCE {
                        let parts = std::mem::take(waiting);
                        write_parts(document, writer, apportion, &parts, out)?;
                    }
                }
            }
            Work::Requests { apportion } => {
                for requests in requests.chunks(PARTS_AT_ONCE) {
                    write_requests(document, breakdown, apportion, requests, out)?;
                }
            }
        }
        Ok(())
    }

    /// There are no more requests: writes what is left.
    ///
    /// # Errors
    /// [`DocumentError::UsageChanged`] when there were fewer requests than the document bills, else
    /// what stands in the way of the form.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), DocumentError> {
        self.begin(out)?;
        let Self { export, breakdown, work, .. } = self;
        let Export { document, issuer, fonts, format, language, .. } = &export;
        let is_whole = |place| breakdown.is_whole(place);
        match work {
            Work::Whole => match format {
                Format::Json => write_issued(document, out),
                Format::Ubl => ubl::write(document, issuer, out),
                Format::Hledger => journal::hledger(document, out),
                Format::Beancount => journal::beancount(document, out),
                _ => lines::write(document, out),
            },
            Work::Pages(tally) => {
                let sessions = tally.table(document, &breakdown)?;
                let view = pages::View::new(document, issuer, *language, &sessions);
                if *format == Format::Pdf {
                    return pdf::write(document, &view, issuer, fonts, out);
                }
                pages::html::write(&view, issuer, out)
            }
            Work::Sessions { writer, mut apportion, mut session, mut waiting } => {
                waiting.extend(session.close());
                for parts in waiting.chunks(PARTS_AT_ONCE) {
                    write_parts(document, &writer, &mut apportion, parts, out)?;
                }
                apportion.finish(document, is_whole)?;
                for (_, line) in
                    document.lines.iter().enumerate().filter(|(place, _)| is_whole(*place))
                {
                    match &writer {
                        SessionWriter::Csv => {
                            lines::session_share(document, line, None, line.amount, out)?;
                        }
                        SessionWriter::Focus(focus) => {
                            focus.share(document, line, None, line.amount, out)?;
                        }
                    }
                }
                if let SessionWriter::Focus(focus) = &writer {
                    for tax in &document.taxes {
                        focus.tax(document, tax, out)?;
                    }
                    focus.paid_otherwise(document, out)?;
                }
                Ok(())
            }
            Work::Requests { apportion } => {
                apportion.finish(document, is_whole)?;
                for (_, line) in
                    document.lines.iter().enumerate().filter(|(place, _)| is_whole(*place))
                {
                    lines::request_share(document, line, None, line.amount, out)?;
                }
                Ok(())
            }
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), DocumentError> {
        if std::mem::replace(&mut self.is_begun, true) {
            return Ok(());
        }
        match &self.work {
            Work::Whole | Work::Pages(_) => Ok(()),
            Work::Sessions { writer: SessionWriter::Csv, .. } => lines::session_head(out),
            Work::Sessions { writer: SessionWriter::Focus(_), .. } => Focus::head(out),
            Work::Requests { .. } => lines::request_head(out),
        }
    }
}

fn write_issued(document: &Document, out: &mut Vec<u8>) -> Result<(), DocumentError> {
    let Some(issued) = &document.issued else {
        return Err(DocumentError::NotExpressible {
            document: document.shown_number().to_owned(),
            format: Format::Json,
            problem: "it is not issued, so it has no text yet".to_owned(),
            accepted: "an invoice that was finalized, or a credit note".to_owned(),
        });
    };
    out.extend_from_slice(issued.json.as_bytes());
    Ok(())
}

/// Shares out parts of several lines and writes them in their own order.
fn write_parts(
    document: &Document,
    writer: &SessionWriter,
    apportion: &mut Apportion,
    parts: &[Part],
    out: &mut Vec<u8>,
) -> Result<(), DocumentError> {
    let quantities = parts.iter().map(|part| (part.place, part.quantity));
    let shares = shares(document, apportion, quantities)?;
    for (part, billed) in parts.iter().zip(shares) {
        let Some(line) = document.lines.get(part.place) else { continue };
        match writer {
            SessionWriter::Csv => lines::session_share(document, line, Some(part), billed, out)?,
            SessionWriter::Focus(focus) => focus.share(document, line, Some(part), billed, out)?,
        }
    }
    Ok(())
}

fn write_requests(
    document: &Document,
    breakdown: &Breakdown,
    apportion: &mut Apportion,
    requests: &[Request],
    out: &mut Vec<u8>,
) -> Result<(), DocumentError> {
    let parts: Vec<(&Request, usize, u64)> = requests
        .iter()
        .flat_map(|request| {
            let shares = breakdown.shares(request);
            shares.map(move |(place, quantity)| (request, place, quantity))
        })
        .collect();
    let quantities = parts.iter().map(|(_, place, quantity)| (*place, *quantity));
    let shares = shares(document, apportion, quantities)?;
    for ((request, place, quantity), billed) in parts.into_iter().zip(shares) {
        let Some(line) = document.lines.get(place) else { continue };
        lines::request_share(document, line, Some((request, quantity)), billed, out)?;
    }
    Ok(())
}

/// The share of each part in its line, in the order of the parts.
fn shares(
    document: &Document,
    apportion: &mut Apportion,
    parts: impl Iterator<Item = (usize, u64)>,
) -> Result<Vec<rust_decimal::Decimal>, DocumentError> {
    let mut by_line: std::collections::BTreeMap<usize, (Vec<usize>, Vec<u64>)> =
        std::collections::BTreeMap::new();
    let mut count = 0_usize;
    for (index, (place, quantity)) in parts.enumerate() {
        let (indices, quantities) = by_line.entry(place).or_default();
        indices.push(index);
        quantities.push(quantity);
        count = index.saturating_add(1);
    }
    let mut shares = vec![rust_decimal::Decimal::ZERO; count];
    for (place, (indices, quantities)) in by_line {
        let amounts = apportion.next(document, place, &quantities)?;
        for (index, amount) in indices.into_iter().zip(amounts) {
            if let Some(share) = shares.get_mut(index) {
                *share = amount;
            }
        }
    }
    Ok(shares)
}
