-- What each signature of a month's close was over, as JSON; null before this was kept.
alter table period_signature add column amounts text;
