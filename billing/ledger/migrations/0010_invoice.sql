-- Invoices, as documents. One draft per customer and period.
create table invoice (
    id text not null,
    customer text not null,
    period text not null,
    state text not null,
    currency text not null,
    total text not null,
    document text not null,
    created_at bigint not null,
    updated_at bigint not null,
    constraint invoice_pkey primary key (id),
    constraint invoice_customer_fkey foreign key (customer) references customer (id)
);

create unique index invoice_draft_key on invoice (customer, period) where state = 'draft';

create index invoice_customer_idx on invoice (customer, id);
