-- Where the upstream runs that answered: prices may differ by it.
alter table usage add column region text;
