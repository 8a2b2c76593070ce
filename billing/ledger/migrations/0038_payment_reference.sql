-- Each payment of an invoice and each refund, by the reference that it has at the bank: the same
-- one again is the same payment. What was booked before this table has no row in it.
create table invoice_payment (
    invoice text not null,
    ordinal bigint not null,
    way text not null,
    amount text not null,
    is_rest bigint not null,
    reference text,
    day text,
    at bigint not null,
    constraint invoice_payment_pkey primary key (invoice, ordinal),
    constraint invoice_payment_invoice_fkey foreign key (invoice) references invoice (id)
);

create unique index invoice_payment_reference_key on invoice_payment (invoice, way, reference);
