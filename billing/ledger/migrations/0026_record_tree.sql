-- The records of a customer's month are the leaves of a Merkle tree, in the order of booking.
create table record_tree (
    customer text not null,
    month text not null,
    size bigint not null,
    -- Records that were held when they were booked and have a price since.
    priced bigint not null,
    -- The roots of its perfect subtrees, largest first, 32 bytes each.
    peaks bytea not null,
    constraint record_tree_pkey primary key (customer, month),
    constraint record_tree_size_check check (size >= 0 and priced >= 0 and priced <= size)
);

-- The place of the leaf; absent on rows of before, until the store is opened.
alter table usage add column leaf bigint;

-- Which one among the priced of its month it was; absent where it was never held.
alter table usage add column priced_as bigint;

create index usage_leafless_idx on usage (at, request_id) where leaf is null;
