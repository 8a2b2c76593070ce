-- What is pending is looked for often: by endpoint, and the oldest of all. Ids of events sort by time.
create index webhook_delivery_endpoint_idx on webhook_delivery (endpoint, state, due_at);

create index webhook_delivery_pending_idx on webhook_delivery (event) where state = 'pending';
