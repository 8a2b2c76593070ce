-- Cost by local day, in 10^-9 of the currency unit, rounded for each request: what budgets are held
-- against. Begins with this migration: usage that was booked before is not in it.
create table spending_day (
    customer text not null,
    level text not null,
    id text not null,
    day bigint not null,
    nano bigint not null,
    constraint spending_day_pkey primary key (customer, level, id, day)
);
