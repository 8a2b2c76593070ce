-- What somebody holds against an issued invoice: of which line or request, with what was found of it
-- when it was said, and what came of it.
create table dispute (
    id text not null,
    invoice text not null,
    invoice_number text not null,
    customer text not null,
    line bigint,
    request text,
    reason text not null,
    evidence text not null,
    state text not null,
    opened_at bigint not null,
    resolution text,
    credit_note text,
    resolved_at bigint,
    constraint dispute_pkey primary key (id),
    constraint dispute_invoice_fkey foreign key (invoice) references invoice (id)
);

create index dispute_invoice_idx on dispute (invoice, state);
