-- Prepaid credit, in 10^-9 of the currency unit. `left_nano` is what nobody has drawn.
create table credit_grant (
    id text not null,
    customer text not null,
    currency text not null,
    amount_nano bigint not null,
    paid_nano bigint not null,
    left_nano bigint not null,
    priority bigint not null,
    from_at bigint not null,
    expires_at bigint,
    models text not null,
    origin text not null,
    reason text not null,
    created_at bigint not null,
    constraint credit_grant_pkey primary key (id),
    constraint credit_grant_customer_fkey foreign key (customer) references customer (id),
    constraint credit_grant_left_check check (left_nano >= 0 and left_nano <= amount_nano)
);

create index credit_grant_customer_idx on credit_grant (customer, id);
