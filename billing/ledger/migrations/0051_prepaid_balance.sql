-- How far customers on prepaid plans may spend, in 10^-9 of the currency unit and counted as
-- `spending_day` is: a limit of the gateway. Null: their plan of now is not prepaid. To be computed
-- again at `due_at`, when time changes it.
create table prepaid_balance (
    customer text not null,
    ceiling_nano bigint,
    granted_nano bigint,
    due_at bigint not null,
    constraint prepaid_balance_pkey primary key (customer),
    constraint prepaid_balance_customer_fkey foreign key (customer) references customer (id)
);

create index prepaid_balance_due_idx on prepaid_balance (due_at);

-- What the customer had spent when the grant ended, as far as it was booked. Null: it has not, or
-- nobody has looked since.
alter table credit_grant add column spent_at_end_nano bigint;

-- What the usage on an issued invoice costs at its own prices. Null: nobody has asked yet.
alter table invoice add column usage_nano bigint;
