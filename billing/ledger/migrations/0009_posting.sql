-- Double entry in 10^-9 of the currency unit. `drawdown` is what a receivable has accrued,
-- exactly, and how much of it is posted.
create table drawdown (
    account text not null,
    currency text not null,
    exact text not null,
    posted_nano bigint not null,
    constraint drawdown_pkey primary key (account, currency)
);

create table posting (
    id text not null,
    customer text not null,
    currency text not null,
    subject text not null,
    created_at bigint not null,
    constraint posting_pkey primary key (id),
    constraint posting_customer_fkey foreign key (customer) references customer (id)
);

create table posting_entry (
    posting text not null,
    account text not null,
    amount_nano bigint not null,
    constraint posting_entry_pkey primary key (posting, account),
    constraint posting_entry_posting_fkey foreign key (posting) references posting (id)
);

create index posting_entry_account_idx on posting_entry (account, posting);
