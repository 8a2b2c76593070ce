-- What an invoice of a customer says beside its lines. `tax` is JSON; null where nothing is said.
alter table customer add column tax text;

alter table customer add column tax_id text;

alter table customer add column billing_address text;

alter table customer add column purchase_order text;

alter table customer add column notes text;

-- What one invoice says instead.
alter table invoice add column purchase_order text;

alter table invoice add column notes text;
