-- One row: grows with every change of customers, projects, keys or prices.
create table snapshot_state (
    id integer not null,
    version bigint not null,
    constraint snapshot_state_pkey primary key (id),
    constraint snapshot_state_id_check check (id = 1)
);

insert into snapshot_state (id, version) values (1, 1);
