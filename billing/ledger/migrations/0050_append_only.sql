-- Rows of the books, of the audit trail and of what was issued or signed are added and never changed
-- or deleted: whoever tries is refused, by whatever program.

create trigger posting_no_update before update on posting
begin
    select raise(abort, 'posting is append-only: its rows are added, never changed or deleted');
end;

create trigger posting_no_delete before delete on posting
begin
    select raise(abort, 'posting is append-only: its rows are added, never changed or deleted');
end;

create trigger posting_entry_no_update before update on posting_entry
begin
    select raise(abort, 'posting_entry is append-only: its rows are added, never changed or deleted');
end;

create trigger posting_entry_no_delete before delete on posting_entry
begin
    select raise(abort, 'posting_entry is append-only: its rows are added, never changed or deleted');
end;

create trigger audit_no_update before update on audit
begin
    select raise(abort, 'audit is append-only: its rows are added, never changed or deleted');
end;

create trigger audit_no_delete before delete on audit
begin
    select raise(abort, 'audit is append-only: its rows are added, never changed or deleted');
end;

create trigger credit_note_no_update before update on credit_note
begin
    select raise(abort, 'credit_note is append-only: its rows are added, never changed or deleted');
end;

create trigger credit_note_no_delete before delete on credit_note
begin
    select raise(abort, 'credit_note is append-only: its rows are added, never changed or deleted');
end;

create trigger invoiced_usage_no_update before update on invoiced_usage
begin
    select raise(abort, 'invoiced_usage is append-only: its rows are added, never changed or deleted');
end;

create trigger invoiced_usage_no_delete before delete on invoiced_usage
begin
    select raise(abort, 'invoiced_usage is append-only: its rows are added, never changed or deleted');
end;

create trigger invoice_payment_no_update before update on invoice_payment
begin
    select raise(abort, 'invoice_payment is append-only: its rows are added, never changed or deleted');
end;

create trigger invoice_payment_no_delete before delete on invoice_payment
begin
    select raise(abort, 'invoice_payment is append-only: its rows are added, never changed or deleted');
end;

create trigger period_signature_no_update before update on period_signature
begin
    select raise(abort, 'period_signature is append-only: its rows are added, never changed or deleted');
end;

create trigger period_signature_no_delete before delete on period_signature
begin
    select raise(abort, 'period_signature is append-only: its rows are added, never changed or deleted');
end;
