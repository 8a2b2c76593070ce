-- Limits of customers, projects and keys as JSON; the requests per minute of a key stay in its row.
create table usage_limit (
    customer text not null,
    level text not null,
    id text not null,
    limits text not null,
    updated_at bigint not null,
    constraint usage_limit_pkey primary key (customer, level, id),
    constraint usage_limit_customer_fkey foreign key (customer) references customer (id)
);
