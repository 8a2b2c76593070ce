-- How a turn of a conversation came about, and how much of its input was sent before. Null where
-- that is not known, and in rows of before.
alter table usage add column turn_kind text;

alter table usage add column resent_tokens bigint;
