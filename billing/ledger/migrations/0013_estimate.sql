-- How far off the tokens of a row that were estimated may be, in thousandths of them. Null where
-- none were estimated, and in rows of before.
alter table usage add column estimate_error_permille bigint;
