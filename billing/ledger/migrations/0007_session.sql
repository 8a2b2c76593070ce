-- Multi-turn conversations that clients named.
create table session (
    customer text not null,
    id text not null,
    turns bigint not null,
    requests bigint not null,
    unpriced bigint not null,
    simulated bigint not null,
    tokens text not null,
    cost text not null,
    first_at bigint not null,
    last_at bigint not null,
    constraint session_pkey primary key (customer, id),
    constraint session_customer_fkey foreign key (customer) references customer (id),
    constraint session_unpriced_check check (unpriced >= 0)
);

create index session_last_idx on session (last_at, customer, id);

create index session_customer_last_idx on session (customer, last_at, id);
