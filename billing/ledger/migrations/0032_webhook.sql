-- Endpoints that are told of changes, what they are told, and how far the telling is. An event is
-- written in the transaction of the change that it tells of, with one delivery for each endpoint
-- that wants it. A secret is made of its seed and the pepper: neither alone signs anything.
create table webhook_endpoint (
    id text not null,
    customer text,
    url text not null,
    events text not null,
    description text,
    seed text not null,
    previous_seed text,
    previous_until bigint,
    failures bigint not null,
    paused_until bigint,
    created_at bigint not null,
    removed_at bigint,
    constraint webhook_endpoint_pkey primary key (id),
    constraint webhook_endpoint_customer_fkey foreign key (customer) references customer (id)
);

-- What is told once has a key: a threshold that is crossed, a first request without a price.
create table webhook_event (
    id text not null,
    kind text not null,
    subject text not null,
    once_key text,
    at bigint not null,
    payload text not null,
    constraint webhook_event_pkey primary key (id)
);

create unique index webhook_event_once_key on webhook_event (once_key);

create index webhook_event_at_idx on webhook_event (at);

create table webhook_delivery (
    endpoint text not null,
    ordinal bigint not null,
    event text not null,
    subject text not null,
    state text not null,
    attempts bigint not null,
    due_at bigint not null,
    leased_until bigint,
    last_at bigint,
    last_status bigint,
    last_error text,
    settled_at bigint,
    constraint webhook_delivery_pkey primary key (endpoint, ordinal),
    constraint webhook_delivery_endpoint_fkey foreign key (endpoint) references webhook_endpoint (id),
    constraint webhook_delivery_event_fkey foreign key (event) references webhook_event (id)
);

create unique index webhook_delivery_event_key on webhook_delivery (endpoint, event);

create index webhook_delivery_due_idx on webhook_delivery (state, due_at);

create index webhook_delivery_subject_idx on webhook_delivery (endpoint, subject, state, ordinal);
