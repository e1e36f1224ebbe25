-- What no program, ours or another's, can do to a ledger. Dropped and made anew at every migration. First the rows of `rewards`, then
-- their states, then the journal, then a ledger that may have forgotten deliveries.

-- Guards against tidying: a reward that is not in the ledger was never delivered, as far as the next pass knows.
CREATE TRIGGER rewards_are_never_deleted BEFORE DELETE ON rewards
BEGIN SELECT RAISE(ABORT, 'rewards are never deleted: a forgotten delivery is a double delivery'); END;

-- Guards against INSERT OR REPLACE in a handler. REPLACE deletes the row that is in its way without firing the trigger above. What the journal knows was there before.
CREATE TRIGGER rewards_are_never_replaced AFTER INSERT ON rewards
WHEN EXISTS (SELECT 1 FROM journal WHERE commission_id = NEW.commission_id)
BEGIN SELECT RAISE(ABORT, 'rewards are never replaced: a forgotten delivery is a double delivery'); END;

-- Guards against an UPDATE that gives a reward another key: its target would not know that it has it already.
CREATE TRIGGER rewards_keep_their_key BEFORE UPDATE OF commission_id, key ON rewards
WHEN NEW.commission_id <> OLD.commission_id OR NEW.key <> OLD.key
BEGIN SELECT RAISE(ABORT, 'a reward keeps its commission and its key for ever'); END;

-- Guards against every way back from `delivered` to a state from which it is delivered, also by a wrong query of a person.
CREATE TRIGGER delivered_is_never_delivered_again BEFORE UPDATE OF state ON rewards
WHEN (OLD.state = 'delivered' AND NEW.state NOT IN ('delivered', 'fulfilled', 'reversed'))
  OR (OLD.state = 'fulfilled' AND NEW.state NOT IN ('fulfilled', 'reversed'))
  OR (OLD.state = 'reversed' AND NEW.state <> 'reversed')
  OR (OLD.state = 'dismissed' AND NEW.state NOT IN ('dismissed', 'delivered'))
BEGIN SELECT RAISE(ABORT, 'what was delivered, or decided by a person, is never delivered again'); END;

-- Guard against a journal that is made to fit: it is what says, after a dispute, what was delivered, when and by whom.
CREATE TRIGGER journal_is_append_only_update BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TRIGGER journal_is_append_only_delete BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

-- Guards against REPLACE, again: an id that is not above all that AUTOINCREMENT has given was there before.
CREATE TRIGGER journal_is_append_only_replace AFTER INSERT ON journal
WHEN NEW.id <= (SELECT seq FROM sqlite_sequence WHERE name = 'journal')
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

-- Guard against deliveries from a backup that was restored. A handler that works in SQL fails here, at its claim, and delivers nothing.
CREATE TRIGGER no_claim_where_deliveries_may_be_forgotten_insert BEFORE INSERT ON claims
WHEN EXISTS (SELECT 1 FROM may_have_forgotten)
BEGIN SELECT RAISE(ABORT, 'this ledger is a copy, or was restored from one, and may have forgotten deliveries: deliver nothing; a person decides with `makegood ledger accept`'); END;
CREATE TRIGGER no_claim_where_deliveries_may_be_forgotten_update BEFORE UPDATE ON claims
WHEN EXISTS (SELECT 1 FROM may_have_forgotten)
BEGIN SELECT RAISE(ABORT, 'this ledger is a copy, or was restored from one, and may have forgotten deliveries: deliver nothing; a person decides with `makegood ledger accept`'); END;
CREATE TRIGGER no_delivery_where_deliveries_may_be_forgotten BEFORE UPDATE OF state ON rewards
WHEN NEW.state = 'delivering' AND EXISTS (SELECT 1 FROM may_have_forgotten)
BEGIN SELECT RAISE(ABORT, 'this ledger is a copy, or was restored from one, and may have forgotten deliveries: deliver nothing; a person decides with `makegood ledger accept`'); END;
