-- Whom Grafana asks the ledger as: a user who can only read, and only what panels ask.
--   psql --username=permille --set=password=… permille < reader.sql
create role permille_reader login password :'password';
grant select on
    credit_note, customer, customer_plan, invoice, plan, price, session, spending_day, usage, usage_kind
    to permille_reader;
