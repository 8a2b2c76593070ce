-- Virtual keys for the data plane and tokens for the API: digests only, never secrets.
create table api_key (
    id text not null,
    customer text not null,
    project text not null,
    name text,
    digest bytea not null,
    prefix text not null,
    last4 text not null,
    rpm bigint,
    created_at bigint not null,
    revoked_at bigint,
    constraint api_key_pkey primary key (id),
    constraint api_key_digest_key unique (digest),
    constraint api_key_project_fkey foreign key (customer, project)
        references project (customer, id)
);

create index api_key_customer_idx on api_key (customer, id);

create table api_token (
    id text not null,
    role text not null,
    customer text,
    name text,
    digest bytea not null,
    prefix text not null,
    last4 text not null,
    created_at bigint not null,
    revoked_at bigint,
    constraint api_token_pkey primary key (id),
    constraint api_token_digest_key unique (digest),
    constraint api_token_customer_fkey foreign key (customer) references customer (id),
    constraint api_token_customer_check check ((role = 'customer') = (customer is not null))
);
