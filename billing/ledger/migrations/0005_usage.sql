-- One row per settled request.
create table usage (
    request_id text not null,
    payload_sha256 bytea not null,
    at bigint not null,
    customer text not null,
    project text not null,
    api_key text not null,
    session text not null,
    session_explicit integer not null,
    turn bigint not null,
    family text not null,
    endpoint text not null,
    model_requested text not null,
    model_served text,
    service_tier text,
    upstream text,
    status bigint,
    streamed integer not null,
    ended text not null,
    source text not null,
    tokens text not null,
    input_total bigint,
    output_total bigint,
    units text,
    attempts text not null,
    latency_ms bigint not null,
    first_token_ms bigint,
    flags text,
    price_version text,
    band bigint,
    cost text,
    unpriced integer not null,
    constraint usage_pkey primary key (request_id),
    constraint usage_project_fkey foreign key (customer, project)
        references project (customer, id),
    constraint usage_api_key_fkey foreign key (api_key) references api_key (id),
    constraint usage_price_fkey foreign key (price_version) references price (version),
    constraint usage_cost_check check (unpriced = 0 or cost is null)
);

create index usage_at_idx on usage (at, request_id);

create index usage_customer_idx on usage (customer, at, request_id);

create index usage_session_idx on usage (session, customer, at, request_id);

create index usage_unpriced_idx on usage (at, request_id) where unpriced = 1;
