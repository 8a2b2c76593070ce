-- The life of an invoice. A month of a customer has one live invoice; voided ones stay beside it.
-- `document` of an issued invoice is never written again.
alter table invoice add column number text;

alter table invoice add column issued_at bigint;

drop index invoice_draft_key;

create unique index invoice_live_key on invoice (customer, period) where state <> 'void';

create unique index invoice_number_key on invoice (number);

-- The last number that each series has given out. Raised in the transaction that issues a document.
create table document_series (
    series text not null,
    last bigint not null,
    constraint document_series_pkey primary key (series)
);

-- What each issued invoice has billed of which month: usage beyond it is late.
create table invoiced_usage (
    invoice text not null,
    line bigint not null,
    customer text not null,
    period text not null,
    project text not null,
    model text not null,
    meter text not null,
    price_version text not null,
    band bigint not null,
    quantity bigint not null,
    constraint invoiced_usage_pkey primary key (invoice, line),
    constraint invoiced_usage_invoice_fkey foreign key (invoice) references invoice (id)
);

create index invoiced_usage_period_idx on invoiced_usage (customer, period);

-- Who changed what. Rows are added and never changed. A caller's idempotency key is spent once.
create table audit (
    noun text not null,
    subject text not null,
    ordinal bigint not null,
    at bigint not null,
    action text not null,
    from_state text,
    to_state text,
    token text not null,
    role text not null,
    name text,
    detail text,
    idempotency_key text,
    request text,
    constraint audit_pkey primary key (noun, subject, ordinal)
);

create unique index audit_idempotency_key on audit (token, idempotency_key);
