-- What became of a payload in quarantine: a person has had it booked, or says that it is no usage.
alter table quarantine add column state text not null default 'open';
alter table quarantine add column note text;
alter table quarantine add column settled_at bigint;

create index quarantine_state_idx on quarantine (state, created_at);
