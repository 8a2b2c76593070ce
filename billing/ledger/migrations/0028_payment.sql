-- What was paid of an invoice may come in parts, and be paid back: `paid` is the sum of what came,
-- `refunded` of what went back. What a credit note takes back in money; null where that is `gross`.
alter table invoice add column refunded text;

alter table credit_note add column total text;
