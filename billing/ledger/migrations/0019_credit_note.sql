-- Credit notes, as documents. Each is final when it is made.
create table credit_note (
    id text not null,
    number text not null,
    invoice text not null,
    invoice_number text not null,
    customer text not null,
    currency text not null,
    gross text not null,
    document text not null,
    created_at bigint not null,
    constraint credit_note_pkey primary key (id),
    constraint credit_note_number_key unique (number),
    constraint credit_note_invoice_fkey foreign key (invoice) references invoice (id)
);

create index credit_note_invoice_idx on credit_note (invoice, id);

create index credit_note_customer_idx on credit_note (customer, id);

-- What a change made, for whoever repeats the call under the same key.
alter table audit add column result text;
