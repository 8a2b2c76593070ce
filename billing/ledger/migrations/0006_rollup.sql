-- Quantities by local hour: what invoices are made of. Integers only.
create table usage_hour (
    customer text not null,
    hour bigint not null,
    project text not null,
    model text not null,
    meter text not null,
    price_version text not null,
    band bigint not null,
    simulated integer not null,
    quantity bigint not null,
    estimated bigint not null,
    constraint usage_hour_pkey
        primary key (customer, hour, project, model, meter, price_version, band, simulated)
);

-- Requests by local hour: what an invoice says beside its lines.
create table request_hour (
    customer text not null,
    hour bigint not null,
    project text not null,
    requests bigint not null,
    unpriced bigint not null,
    estimated bigint not null,
    simulated bigint not null,
    constraint request_hour_pkey primary key (customer, hour, project),
    constraint request_hour_unpriced_check check (unpriced >= 0)
);
