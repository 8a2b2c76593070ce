-- Nothing changes in the tables. From here on rows of usage have token classes under codes
-- (decision 0030), which a program of before would take for classes that it does not know: it finds
-- a newer store, and refuses to open it.
select 1 where 1 = 0;
