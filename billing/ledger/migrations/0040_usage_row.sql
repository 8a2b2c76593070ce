-- A row of usage in fewer bytes (decision 0030): what many rows have in common is kept once in
-- `usage_kind`, what tells a request that comes again in `usage_key`, ids of requests as 16 bytes.
-- A row without a cost is held.
create table usage_kind (
    id integer not null,
    -- All columns that follow, so that a kind is there once: nulls are never the same to `unique`.
    content text not null,
    session_explicit integer not null,
    turn_kind text,
    family text not null,
    endpoint text not null,
    -- Whether the reply names the model that was asked for; if not, the row has `model_served`.
    served_as_asked integer not null,
    service_tier text,
    region text,
    upstream text,
    status integer,
    streamed integer not null,
    ended text not null,
    source text not null,
    flags text,
    price_version text,
    band integer,
    constraint usage_kind_pkey primary key (id),
    constraint usage_kind_content_key unique (content),
    constraint usage_kind_price_fkey foreign key (price_version) references price (version)
);

create table usage_key (
    request_id blob not null,
    at integer not null,
    payload_sha256 blob not null,
    constraint usage_key_pkey primary key (request_id)
) without rowid;

insert into usage_key (request_id, at, payload_sha256)
select unhex(replace(request_id, '-', '')), at, payload_sha256
from usage;

create index usage_key_at_idx on usage_key (at);

insert into usage_kind (
    content, session_explicit, turn_kind, family, endpoint, served_as_asked, service_tier,
    region, upstream, status, streamed, ended, source, flags, price_version, band, id
)
select kind.*, row_number() over (order by content)
from (
    select distinct
        quote(session_explicit) || ',' || quote(turn_kind) || ',' || quote(family) || ','
            || quote(endpoint) || ',' || quote(coalesce(model_served = model_requested, 0)) || ','
            || quote(service_tier) || ',' || quote(region) || ',' || quote(upstream) || ','
            || quote(status) || ',' || quote(streamed) || ',' || quote(ended) || ','
            || quote(source) || ',' || quote(flags) || ',' || quote(price_version) || ','
            || quote(band) as content,
        session_explicit, turn_kind, family, endpoint,
        coalesce(model_served = model_requested, 0),
        service_tier, region, upstream, status, streamed, ended, source, flags, price_version, band
    from usage
) as kind;

alter table usage rename to usage_before;

create table usage (
    at integer not null,
    kind integer not null,
    turn integer not null,
    input_total integer,
    output_total integer,
    resent_tokens integer,
    latency_ms integer not null,
    first_token_ms integer,
    leaf integer,
    priced_as integer,
    estimate_error_permille integer,
    request_id blob not null,
    customer text not null,
    project text not null,
    api_key text not null,
    session text not null,
    model_requested text not null,
    model_served text,
    cost text,
    tokens text not null,
    units text,
    attempts text not null,
    constraint usage_pkey primary key (at, request_id),
    constraint usage_kind_fkey foreign key (kind) references usage_kind (id),
    constraint usage_project_fkey foreign key (customer, project)
        references project (customer, id),
    constraint usage_api_key_fkey foreign key (api_key) references api_key (id)
);

insert into usage (
    at, kind, turn, input_total, output_total, resent_tokens, latency_ms, first_token_ms, leaf,
    priced_as, estimate_error_permille, request_id, customer, project, api_key, session,
    model_requested, model_served, cost, tokens, units, attempts
)
select
    old.at, usage_kind.id, old.turn, old.input_total, old.output_total, old.resent_tokens,
    old.latency_ms, old.first_token_ms, old.leaf, old.priced_as, old.estimate_error_permille,
    unhex(replace(old.request_id, '-', '')), old.customer, old.project, old.api_key, old.session,
    old.model_requested,
    case when usage_kind.served_as_asked = 0 then old.model_served end,
    old.cost, old.tokens, old.units, old.attempts
from usage_before as old
join usage_kind on usage_kind.content =
    quote(old.session_explicit) || ',' || quote(old.turn_kind) || ',' || quote(old.family) || ','
        || quote(old.endpoint) || ',' || quote(coalesce(old.model_served = old.model_requested, 0))
        || ',' || quote(old.service_tier) || ',' || quote(old.region) || ','
        || quote(old.upstream) || ',' || quote(old.status) || ',' || quote(old.streamed) || ','
        || quote(old.ended) || ',' || quote(old.source) || ',' || quote(old.flags) || ','
        || quote(old.price_version) || ',' || quote(old.band)
order by old.at, old.request_id;

drop table usage_before;

create index usage_customer_idx on usage (customer, at, request_id);

create index usage_session_idx on usage (session, customer, at, request_id);

create index usage_held_idx on usage (at, request_id) where cost is null;

create index usage_leafless_idx on usage (at, request_id) where leaf is null;
