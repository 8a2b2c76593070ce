-- What migrations/0041_usage_drop.sql says, and how a partition goes.
create table usage_drop (
    day bigint not null,
    requests bigint not null,
    dropped_at bigint not null,
    dropped_by text collate "C" not null,
    keys text collate "C" not null,
    constraint usage_drop_pkey primary key (day)
);

create index usage_drop_keys_idx on usage_drop (keys, day);

alter table session
    add column last_kind text collate "C",
    add column last_ended text collate "C";

-- Drops the partition of a day, named by its first number; false where it has none. It waits two
-- seconds at most for readers: whoever comes behind it waits as long.
create function usage_partition_drop(day bigint) returns boolean language plpgsql as $$
declare
    name text := usage_partition_name(day);
begin
    if to_regclass(name) is null then
        return false;
    end if;
    set local lock_timeout = '2s';
    execute format('alter table usage detach partition %I', name);
    execute format('drop table %I', name);
    return true;
end $$;
