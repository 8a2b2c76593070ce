-- Months that are being closed or are. A reopened month begins another round of signatures.
create table period_close (
    period text not null,
    state text not null,
    round bigint not null,
    updated_at bigint not null,
    constraint period_close_pkey primary key (period)
);

create table period_signature (
    period text not null,
    round bigint not null,
    role text not null,
    token text not null,
    name text,
    accepted text,
    at bigint not null,
    constraint period_signature_pkey primary key (period, round, role),
    constraint period_signature_period_fkey foreign key (period) references period_close (period)
);

create index invoice_period_idx on invoice (period, state);
