-- Plans, by version: content is immutable. `ordinal` is the order of arrival; the latest of a name is
-- the one that is assigned by it.
create table plan (
    version text not null,
    name text not null,
    currency text not null,
    content text not null,
    ordinal bigint not null,
    added_at bigint not null,
    constraint plan_pkey primary key (version),
    constraint plan_ordinal_key unique (ordinal)
);

-- Which plan a customer has from when on. Null: none, usage at its own prices.
create table customer_plan (
    customer text not null,
    from_at bigint not null,
    plan text,
    assigned_at bigint not null,
    constraint customer_plan_pkey primary key (customer, from_at),
    constraint customer_plan_customer_fkey foreign key (customer) references customer (id),
    constraint customer_plan_plan_fkey foreign key (plan) references plan (version)
);
