-- Exchange rates by day: units of `quote` for one of `base`, a decimal. A rate that is replaced
-- leaves its value in the audit trail.
create table fx_rate (
    base text not null,
    quote text not null,
    day text not null,
    rate text not null,
    source text not null,
    added_at bigint not null,
    constraint fx_rate_pkey primary key (base, quote, day)
);

create index fx_rate_day_idx on fx_rate (day);
