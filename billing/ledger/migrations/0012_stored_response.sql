-- Which request of a customer created a response that a provider stores.
create table stored_response (
    customer text not null,
    id text not null,
    request_id text not null,
    constraint stored_response_pkey primary key (customer, id)
);
