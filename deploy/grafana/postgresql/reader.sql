-- Whom Grafana asks the ledger as: a user who can only read, and only what panels ask.
--   psql --username=permille --set=password=… permille < reader.sql
create role permille_reader login password :'password';
grant select on customer, invoice, price, session, spending_day, usage to permille_reader;
