-- Interim invoices bill a running month's usage. Any number of issued ones stand beside the month's
-- own invoice, of which there is one that is not void; of a month one may be on its way.
alter table invoice add column interim bigint not null default 0;

drop index invoice_live_key;

create unique index invoice_month_key on invoice (customer, period)
    where state <> 'void' and interim = 0;

create unique index invoice_interim_key on invoice (customer, period)
    where state in ('draft', 'approved') and interim = 1;

-- How much of a month may be unbilled before an interim invoice is drafted; as the plan says.
alter table plan add column threshold text;
