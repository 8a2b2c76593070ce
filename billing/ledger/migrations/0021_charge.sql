-- Charges over the sums of a month. Content is immutable, but an open charge may be given its end
-- once. `ordinal` is the order of arrival, which decides between two of one name and `from_at`.
create table charge (
    version text not null,
    name text not null,
    customer text,
    currency text not null,
    from_at bigint not null,
    until_at bigint,
    content text not null,
    ordinal bigint not null,
    added_at bigint not null,
    constraint charge_pkey primary key (version),
    constraint charge_ordinal_key unique (ordinal),
    constraint charge_customer_fkey foreign key (customer) references customer (id)
);

-- What an issued line has billed, and which charge or term made the amount: a charge over all usage
-- of a month is billed less this. `part_at` begins the part of the month that the line is of. Null
-- in rows of before, which no charge covers.
alter table invoiced_usage add column part_at bigint;

alter table invoiced_usage add column charge text;

alter table invoiced_usage add column amount_nano bigint;
