-- Who is billed, and their cost centres.
create table customer (
    id text not null,
    name text not null,
    currency text not null,
    time_zone text not null,
    created_at bigint not null,
    constraint customer_pkey primary key (id)
);

create table project (
    customer text not null,
    id text not null,
    name text not null,
    created_at bigint not null,
    constraint project_pkey primary key (customer, id),
    constraint project_customer_fkey foreign key (customer) references customer (id)
);
