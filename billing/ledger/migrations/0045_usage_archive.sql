-- Files outside the store that hold the usage of a UTC day. A day has one, of part 0; a further part
-- only where rows came after those of the earlier ones had left the store. `held` counts rows
-- without a price, `tokens` and `amounts` are sums by class and by currency.
create table usage_archive (
    day text not null,
    part bigint not null,
    location text not null,
    first_request text not null,
    usage_rows bigint not null,
    held bigint not null,
    tokens text not null,
    amounts text not null,
    file_bytes bigint not null,
    sha256 text not null,
    archived_at bigint not null,
    constraint usage_archive_pkey primary key (day, part)
);
