-- Reconciliations with providers' bills: the report as it was made, and who signed it. A report of
-- the same content is the same one: `fingerprint`.
create table reconciliation (
    id text not null,
    provider text not null,
    first_day text not null,
    last_day text not null,
    fingerprint text not null,
    drift_permille text,
    report text not null,
    created_at bigint not null,
    signed_at bigint,
    signed_by text,
    signed_note text,
    constraint reconciliation_pkey primary key (id),
    constraint reconciliation_fingerprint_key unique (fingerprint)
);

create index reconciliation_provider_idx on reconciliation (provider, id);
