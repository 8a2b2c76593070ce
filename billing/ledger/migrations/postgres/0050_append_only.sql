-- What migrations/0050_append_only.sql says.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: its rows are added, never changed or deleted',
        tg_table_name;
end $$;

create trigger posting_no_update before update on posting
    for each statement execute function refuse_change();

create trigger posting_no_delete before delete or truncate on posting
    for each statement execute function refuse_change();

create trigger posting_entry_no_update before update on posting_entry
    for each statement execute function refuse_change();

create trigger posting_entry_no_delete before delete or truncate on posting_entry
    for each statement execute function refuse_change();

create trigger audit_no_update before update on audit
    for each statement execute function refuse_change();

create trigger audit_no_delete before delete or truncate on audit
    for each statement execute function refuse_change();

create trigger credit_note_no_update before update on credit_note
    for each statement execute function refuse_change();

create trigger credit_note_no_delete before delete or truncate on credit_note
    for each statement execute function refuse_change();

create trigger invoiced_usage_no_update before update on invoiced_usage
    for each statement execute function refuse_change();

create trigger invoiced_usage_no_delete before delete or truncate on invoiced_usage
    for each statement execute function refuse_change();

create trigger invoice_payment_no_update before update on invoice_payment
    for each statement execute function refuse_change();

create trigger invoice_payment_no_delete before delete or truncate on invoice_payment
    for each statement execute function refuse_change();

create trigger period_signature_no_update before update on period_signature
    for each statement execute function refuse_change();

create trigger period_signature_no_delete before delete or truncate on period_signature
    for each statement execute function refuse_change();
