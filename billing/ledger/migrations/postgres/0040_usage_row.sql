-- What migrations/0040_usage_row.sql says, and more: a partition for each UTC day (decision 0030).
-- Integers come before texts: nothing is lost to alignment.
create table usage_kind (
    id bigint not null,
    content text collate "C" not null,
    session_explicit bigint not null,
    turn_kind text collate "C",
    family text collate "C" not null,
    endpoint text collate "C" not null,
    served_as_asked bigint not null,
    service_tier text collate "C",
    region text collate "C",
    upstream text collate "C",
    status bigint,
    streamed bigint not null,
    ended text collate "C" not null,
    source text collate "C" not null,
    flags text collate "C",
    price_version text collate "C",
    band bigint,
    constraint usage_kind_pkey primary key (id),
    constraint usage_kind_content_key unique (content),
    constraint usage_kind_price_fkey foreign key (price_version) references price (version)
);

create table usage_key (
    at bigint not null,
    request_id bytea not null,
    payload_sha256 bytea not null
);

insert into usage_key (request_id, at, payload_sha256)
select decode(replace(request_id, '-', ''), 'hex'), at, payload_sha256
from usage;

alter table usage_key add constraint usage_key_pkey primary key (request_id);

-- Keys come in the order of time, so that this index has some bytes for each block of them.
create index usage_key_at_idx on usage_key using brin (at)
    with (pages_per_range = 32, autosummarize = on);

-- Each kind of before by a text of all its columns, as `quote` gives it on SQLite.
create function usage_quoted(text) returns text language sql immutable as
    'select coalesce(quote_literal($1), ''NULL'')';

create temporary table kind_before on commit drop as
select
    request_id,
    session_explicit || ',' || usage_quoted(turn_kind) || ',' || usage_quoted(family) || ','
        || usage_quoted(endpoint) || ','
        || case when model_served = model_requested then 1 else 0 end || ','
        || usage_quoted(service_tier) || ',' || usage_quoted(region) || ','
        || usage_quoted(upstream) || ',' || coalesce(cast(status as text), 'NULL') || ','
        || streamed || ',' || usage_quoted(ended) || ',' || usage_quoted(source) || ','
        || usage_quoted(flags) || ',' || usage_quoted(price_version) || ','
        || coalesce(cast(band as text), 'NULL') as content
from usage;

drop function usage_quoted;

insert into usage_kind
select
    row_number() over (order by content), kind.*
from (
    select distinct on (content)
        content, session_explicit, turn_kind, family, endpoint,
        case when model_served = model_requested then 1 else 0 end,
        service_tier, region, upstream, status, streamed, ended, source, flags, price_version, band
    from usage
    join kind_before using (request_id)
    order by content
) as kind;

alter table usage rename to usage_before;

create table usage (
    at bigint not null,
    kind bigint not null,
    turn bigint not null,
    input_total bigint,
    output_total bigint,
    resent_tokens bigint,
    latency_ms bigint not null,
    first_token_ms bigint,
    leaf bigint,
    priced_as bigint,
    estimate_error_permille bigint,
    request_id bytea not null,
    customer text collate "C" not null,
    project text collate "C" not null,
    api_key text collate "C" not null,
    session text collate "C" not null,
    model_requested text collate "C" not null,
    model_served text collate "C",
    cost text collate "C",
    tokens text collate "C" not null,
    units text collate "C",
    attempts text collate "C" not null
) partition by range (at);

-- What the partition of a day is called: by its date, from the year 1 to 9999; else by its number.
create function usage_partition_name(day bigint) returns text language sql immutable strict as $$
    select 'usage_' || case
        when day between -62135596800000000 and 253402214400000000
            then to_char(to_timestamp(day / 1000000) at time zone 'UTC', 'YYYYMMDD')
        else replace('day_' || day / 86400000000, '-', 'm')
    end
$$;

-- Sees to it that a day, named by its first number, has a partition; true where it had none. The
-- partition is filled into a table of its own and joined then: that lets readers go on, which
-- `create table ... partition of` does not.
create function usage_partition(day bigint) returns boolean language plpgsql as $$
declare
    name text := usage_partition_name(day);
begin
    if to_regclass(name) is not null then
        return false;
    end if;
    execute format('create table %I (like usage including all)', name);
    execute format('alter table usage attach partition %I for values from (%s) to (%s)',
        name, day, day + 86400000000);
    return true;
end $$;

do $$ begin
    perform usage_partition(day)
    from (
        select distinct at - ((at % 86400000000) + 86400000000) % 86400000000 as day
        from usage_before
    ) as days;
end $$;

insert into usage (
    at, kind, turn, input_total, output_total, resent_tokens, latency_ms, first_token_ms, leaf,
    priced_as, estimate_error_permille, request_id, customer, project, api_key, session,
    model_requested, model_served, cost, tokens, units, attempts
)
select
    old.at, usage_kind.id, old.turn, old.input_total, old.output_total, old.resent_tokens,
    old.latency_ms, old.first_token_ms, old.leaf, old.priced_as, old.estimate_error_permille,
    decode(replace(old.request_id, '-', ''), 'hex'), old.customer, old.project, old.api_key,
    old.session, old.model_requested,
    case when usage_kind.served_as_asked = 0 then old.model_served end,
    old.cost, old.tokens, old.units, old.attempts
from usage_before as old
join kind_before using (request_id)
join usage_kind using (content)
order by old.at;

drop table usage_before;

alter table usage
    add constraint usage_pkey primary key (at, request_id),
    add constraint usage_kind_fkey foreign key (kind) references usage_kind (id),
    add constraint usage_project_fkey foreign key (customer, project)
        references project (customer, id),
    add constraint usage_api_key_fkey foreign key (api_key) references api_key (id);

create index usage_customer_idx on usage (customer, at, request_id);

create index usage_session_idx on usage (session, customer, at, request_id);

create index usage_held_idx on usage (at, request_id) where cost is null;

create index usage_leafless_idx on usage (at, request_id) where leaf is null;
