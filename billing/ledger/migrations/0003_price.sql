-- The price book. Content is immutable, but an open entry may be given its end once. `ordinal` is
-- the order of arrival, which decides between two entries of one model, provider and currency that
-- begin at the same instant. `origin` tells the built-in entries from the operator's own.
create table price (
    version text not null,
    model text not null,
    provider text,
    currency text not null,
    from_at bigint not null,
    until_at bigint,
    content text not null,
    origin text not null,
    ordinal bigint not null,
    added_at bigint not null,
    constraint price_pkey primary key (version),
    constraint price_ordinal_key unique (ordinal)
);
