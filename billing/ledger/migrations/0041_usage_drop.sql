-- Days (UTC) whose rows of usage were dropped (decision 0030), by whom, and whether their keys are
-- `kept`, or `gone` at least in part: then nothing of the day is booked any more.
create table usage_drop (
    day bigint not null,
    requests bigint not null,
    dropped_at bigint not null,
    dropped_by text not null,
    keys text not null,
    constraint usage_drop_pkey primary key (day)
);

create index usage_drop_keys_idx on usage_drop (keys, day);

-- How the last request of a session came about and ended, from when its row is dropped.
alter table session add column last_kind text;

alter table session add column last_ended text;
