-- What kind of failure a pass ended with, beside its words: what is decided by, so that nothing hangs on how a message is worded.
ALTER TABLE passes ADD COLUMN error_kind TEXT
    CHECK (error_kind IN
           ('stopped', 'abandoned', 'busy', 'unavailable', 'rejected_key', 'refused', 'unreadable_answer', 'untrusted_answer',
            'too_many', 'no_such_commission', 'ledger_locked', 'ledger_disk', 'may_have_forgotten', 'ledger', 'unwritten'))
    CHECK (error_kind IS NULL OR error IS NOT NULL);

-- Of earlier passes only these two are known, by the words that every earlier version wrote. The kind of the others stays unknown.
UPDATE passes SET error_kind = CASE WHEN error LIKE 'stopped by a signal%' THEN 'stopped'
                                    WHEN error LIKE 'abandoned: its process ended%' THEN 'abandoned' END
WHERE error IS NOT NULL;
