-- How far each node's journal is committed, and what could not be booked.
create table intake_checkpoint (
    node text not null,
    sequence bigint not null,
    updated_at bigint not null,
    constraint intake_checkpoint_pkey primary key (node)
);

create table quarantine (
    id text not null,
    node text not null,
    sequence bigint not null,
    reason text not null,
    detail text not null,
    request_id text,
    payload_sha256 bytea not null,
    payload bytea not null,
    created_at bigint not null,
    constraint quarantine_pkey primary key (id),
    constraint quarantine_payload_key unique (payload_sha256, reason)
);
