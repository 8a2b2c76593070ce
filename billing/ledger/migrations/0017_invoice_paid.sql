-- What was paid of an issued invoice; null until it is.
alter table invoice add column paid text;
