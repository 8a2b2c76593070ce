-- Every request belongs to a session of this table now, named by a client or not. `counts` and
-- `amounts` are what of its cost is hidden; null in sessions of before. An outcome is what somebody
-- said of it. `ended_at` is its last request when it was last found silent for long enough, and
-- `ended_cost` what it had cost then: metrics of sessions count each of them once.
alter table session add column counts text;

alter table session add column amounts text;

alter table session add column outcome text;

alter table session add column outcome_at bigint;

alter table session add column outcome_by text;

alter table session add column ended_at bigint;

alter table session add column ended_cost text;

update session
set ended_at = last_at,
    ended_cost = cost;

create index session_open_idx on session (last_at)
    where ended_at is null
       or ended_at < last_at;
