//! What somebody has who verifies an invoice, as a customer gets it.

use permille_ledger::{
    Beside, CreditNote, Invoice, Page, Verification, recount_of, verify_invoice,
};
use permille_rating::price_book::PriceBook;

use crate::support::Books;

/// What somebody has who verifies: documents as they were issued, records, prices.
pub(crate) struct Files {
    pub(crate) document: String,
    pub(crate) records: Vec<String>,
    pub(crate) book: PriceBook,
    pub(crate) earlier: Vec<Invoice>,
    pub(crate) notes: Vec<CreditNote>,
}

async fn document(books: &Books, invoice: &Invoice) -> String {
    books.ledger.invoice_document(&invoice.id.clone().unwrap()).await.unwrap()
}

/// The records behind an invoice, read in pages of two.
pub(crate) async fn records(books: &Books, invoice: &Invoice) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = Page::new(cursor, Some(2)).unwrap();
        let id = invoice.id.clone().unwrap();
        let listing = books.ledger.invoice_records(&id, &page).await.unwrap();
        found.extend(listing.items.iter().map(|entry| serde_json::to_string(entry).unwrap()));
        match listing.next_cursor {
            None => return found,
            next => cursor = next,
        }
    }
}

pub(crate) async fn files(books: &Books, invoice: &Invoice, earlier: &[&Invoice]) -> Files {
    let mut documents = Vec::new();
    for invoice in earlier {
        documents.push(serde_json::from_str(&document(books, invoice).await).unwrap());
    }
    Files {
        document: document(books, invoice).await,
        records: records(books, invoice).await,
        book: books.ledger.price_book(),
        earlier: documents,
        notes: Vec::new(),
    }
}

impl Files {
    pub(crate) fn verify(&self) -> Result<Verification, String> {
        let invoice: Invoice = serde_json::from_str(&self.document).map_err(|e| e.to_string())?;
        let mut recount = recount_of(&invoice, self.book.prices().to_vec());
        for line in &self.records {
            recount.add(line).map_err(|cause| chain(&cause))?;
        }
        let beside = Beside { earlier: &self.earlier, notes: &self.notes };
        verify_invoice(&self.document, &recount, &beside).map_err(|cause| chain(&cause))
    }

    /// What is wrong with them.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.verify().map_or_else(|refused| vec![refused], |found| found.differences)
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(cause) => format!("{error}: {}", chain(cause)),
    }
}
