//! Invoices, credit notes and requests of the ledger in the terms of documents.

use permille_documents::{
    BilledBefore, BilledPeriod, Buyer, Document, IssuedText, Issuer, Kind, Line, LineUsage, Logo,
    ProjectAmount, Records, Request, RequestCounts, Standing, Status,
};
use permille_ledger::{
    CreditNote, Invoice, InvoiceCustomer, InvoiceIssuer, InvoicePeriod, InvoiceState,
    InvoicedUsage, PricedEvent,
};
use permille_rating::{Meter, invoice::InvoiceLine};
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

/// The document of an invoice.
pub(super) fn invoice(usage: &InvoicedUsage) -> Document {
    let invoice = &usage.invoice;
    let lines = (1..).zip(&invoice.lines).map(|(number, line)| of_line(number, line));
    let status = match invoice.state {
        InvoiceState::Preview => Status::Preview,
        InvoiceState::Draft => Status::Draft,
        InvoiceState::Approved => Status::Approved,
        InvoiceState::Final => Status::Final,
        InvoiceState::Paid => Status::Paid,
        InvoiceState::Void => Status::Void,
    };
    Document {
        kind: Kind::Invoice(status),
        id: invoice.id.clone(),
        number: invoice.number.clone(),
        issued_at: invoice.issued_at,
        buyer: buyer(&invoice.customer),
        period: period(&invoice.period),
        interim: invoice.interim,
        billed_before: invoice
            .billed_before
            .iter()
            .map(|before| BilledBefore { number: before.number.clone(), amount: before.subtotal })
            .collect(),
        currency: invoice.currency,
        purchase_order: invoice.purchase_order.clone(),
        notes: invoice.notes.clone(),
        projects: invoice
            .projects
            .iter()
            .map(|project| ProjectAmount {
                id: project.id.clone(),
                name: project.name.clone(),
                amount: project.amount,
            })
            .collect(),
        lines: lines.collect(),
        charges: invoice.charges.clone(),
        net: invoice.net,
        tax_terms: invoice.tax_terms.clone(),
        taxes: invoice.tax.clone(),
        gross: invoice.gross,
        total: invoice.total,
        standing: invoice.standing.as_ref().map(|standing| Standing {
            paid: standing.paid,
            credited: standing.credited,
            refunded: standing.refunded.unwrap_or_default(),
            due: standing.due,
        }),
        records: invoice
            .records
            .iter()
            .map(|head| Records {
                period: head.period.clone(),
                size: head.size,
                root: head.root.to_string(),
            })
            .collect(),
        counts: Some(RequestCounts {
            all: invoice.requests,
            unpriced: invoice.unpriced_requests,
            estimated: invoice.estimated_requests,
            estimated_quantity: invoice.estimated_quantity,
            simulated: invoice.simulated_requests,
            simulated_only: invoice.simulated,
        }),
        issued: usage.document.clone().map(issued),
    }
}

/// The document of a credit note over `invoice`.
pub(super) fn credit_note(note: &CreditNote, invoice: &Invoice, text: String) -> Document {
    let mut projects: Vec<ProjectAmount> = Vec::new();
    for line in &note.lines {
        match projects.iter_mut().find(|project| project.id == line.project) {
            Some(project) => project.amount = project.amount.saturating_add(line.amount),
            None => projects.push(ProjectAmount {
                name: invoice
                    .projects
                    .iter()
                    .find(|project| project.id == line.project)
                    .map_or_else(|| line.project.to_string(), |project| project.name.clone()),
                id: line.project.clone(),
                amount: line.amount,
            }),
        }
    }
    Document {
        kind: Kind::CreditNote {
            invoice: note.invoice.number.clone(),
            reason: note.reason.clone(),
        },
        id: Some(note.id.clone()),
        number: Some(note.number.clone()),
        issued_at: Some(note.issued_at),
        buyer: buyer(&note.customer),
        period: period(&invoice.period),
        interim: false,
        billed_before: Vec::new(),
        currency: note.currency,
        purchase_order: invoice.purchase_order.clone(),
        notes: None,
        projects,
        lines: note
            .lines
            .iter()
            .map(|line| Line {
                number: line.line,
                corrects: None,
                part: line.line.checked_sub(1).and_then(|place| invoice.lines.get(place)?.part),
                project: line.project.clone(),
                model: line.model.clone(),
                meter: line.meter.clone(),
                usage: None,
                charge: None,
                amount: line.amount,
            })
            .collect(),
        charges: Vec::new(),
        net: note.net,
        tax_terms: invoice.tax_terms.clone(),
        taxes: note.tax.clone(),
        gross: note.gross,
        total: note.in_money(),
        standing: None,
        records: Vec::new(),
        counts: None,
        issued: Some(issued(text)),
    }
}

/// The issuer as documents of the ledger say it; nobody where it has no name.
pub(crate) fn frozen(issuer: &Issuer) -> Option<InvoiceIssuer> {
    Some(InvoiceIssuer {
        name: issuer.name.clone()?,
        address: issuer.address.clone(),
        country: issuer.country.clone(),
        tax_id: issuer.tax_id.clone(),
        registration: issuer.registration.clone(),
        email: issuer.email.clone(),
        payment: issuer.payment.clone(),
        iban: issuer.iban.clone(),
        payment_days: issuer.payment_days,
    })
}

/// The issuer that a document of the ledger says, with the logo of now.
pub(super) fn issuer(issuer: &InvoiceIssuer, logo: Option<Logo>) -> Issuer {
    let issuer = issuer.clone();
    Issuer {
        name: Some(issuer.name),
        address: issuer.address,
        country: issuer.country,
        tax_id: issuer.tax_id,
        registration: issuer.registration,
        email: issuer.email,
        payment: issuer.payment,
        iban: issuer.iban,
        payment_days: issuer.payment_days,
        logo,
    }
}

/// A request as a breakdown takes it.
pub(super) fn request(priced: PricedEvent) -> Request {
    let PricedEvent { event, price_version, band } = priced;
    let model = event.model().clone();
    let tokens = event.tokens.into_iter().map(|(class, count)| (Meter::Tokens(class), count));
    let units = event.units.into_iter().map(|(unit, count)| (Meter::Units(unit), count));
    Request {
        id: event.request_id,
        at: event.at,
        session: event.session,
        turn: event.turn,
        turn_kind: event.turn_kind,
        project: event.project,
        model,
        price_version,
        band,
        quantities: tokens.chain(units).collect(),
        input_tokens: event.input_total,
        resent_tokens: event.resent_tokens,
        ended: event.ended,
        source: event.source,
    }
}

fn of_line(number: usize, line: &InvoiceLine) -> Line {
    let price = line.price_per_thousand.or(line.price_per_unit);
    let usage = |price: Decimal| LineUsage {
        quantity: line.quantity,
        price,
        list_price: None,
        exact: line.exact,
        price_version: line.price_version.clone(),
        band: line.band,
    };
    Line {
        number,
        corrects: line.corrects.clone(),
        part: line.part,
        project: line.project.clone(),
        model: line.model.clone(),
        meter: line.meter.clone(),
        usage: price.map(usage),
        charge: line.charge.clone(),
        amount: line.amount,
    }
}

fn buyer(customer: &InvoiceCustomer) -> Buyer {
    Buyer {
        id: customer.id.clone(),
        name: customer.name.clone(),
        tax_id: customer.tax_id.clone(),
        address: customer.billing_address.clone(),
    }
}

fn period(period: &InvoicePeriod) -> BilledPeriod {
    BilledPeriod {
        label: period.label.clone(),
        start: period.start,
        end: period.end,
        time_zone: period.time_zone,
    }
}

fn issued(json: String) -> IssuedText {
    let sha256 = hex::encode(Sha256::digest(json.as_bytes()));
    IssuedText { json, sha256 }
}
