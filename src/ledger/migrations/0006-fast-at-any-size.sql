-- What a pass, `status` and the metrics ask costs as much as what is open or new, however long the history is: indexes of what is
-- open, and counts that are kept as they grow (counts.sql).

-- The next one first.
CREATE INDEX rewards_owed ON rewards (next_attempt_at, commission_id) WHERE state IN ('waiting', 'delivering');
-- What needs a person, longest standing first.
CREATE INDEX rewards_attention ON rewards (state_since, commission_id)
    WHERE state = 'held' OR (state = 'delivered' AND mark_attempts >= 3) OR drift IS NOT NULL;
-- What a clock that was ahead found.
CREATE INDEX rewards_found ON rewards (owed_since) WHERE state IN ('waiting', 'held');
-- A person is found whatever the case of ASCII letters is: NOCASE knows no others.
DROP INDEX rewards_promoter_email;
DROP INDEX rewards_referral_email;
CREATE INDEX rewards_promoter_email ON rewards (promoter_email COLLATE NOCASE);
CREATE INDEX rewards_referral_email ON rewards (referral_email COLLATE NOCASE);

-- A damaged ledger is a kind of failure of its own. A CHECK cannot be changed in place, so the column is made anew.
ALTER TABLE passes RENAME COLUMN error_kind TO error_kind_before;
ALTER TABLE passes ADD COLUMN error_kind TEXT
    CHECK (error_kind IN
           ('stopped', 'abandoned', 'busy', 'unavailable', 'rejected_key', 'refused', 'unreadable_answer', 'untrusted_answer',
            'too_many', 'no_such_commission', 'ledger_locked', 'ledger_disk', 'may_have_forgotten', 'ledger_damaged', 'ledger',
            'unwritten'))
    CHECK (error_kind IS NULL OR error IS NOT NULL);
UPDATE passes SET error_kind = error_kind_before WHERE error_kind_before IS NOT NULL;
ALTER TABLE passes DROP COLUMN error_kind_before;

-- Whether the journal or the attempts refer to a pass. Only others are removed, after `ledger.keep_empty_passes`.
ALTER TABLE passes ADD COLUMN happened INTEGER NOT NULL DEFAULT 0 CHECK (happened IN (0, 1));
UPDATE passes SET happened = 1 WHERE id IN (SELECT pass_id FROM journal UNION SELECT pass_id FROM attempts);
CREATE INDEX passes_completed ON passes (id) WHERE kind <> 'commissions' AND finished IS NOT NULL AND error IS NULL;
CREATE INDEX passes_empty ON passes (finished) WHERE happened = 0 AND finished IS NOT NULL AND error IS NULL;

-- The last journal entry which says that something was, or may have been, delivered: where the high-water mark belongs.
CREATE TABLE last_delivery (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    journal INTEGER NOT NULL,
    at      TEXT NOT NULL
) STRICT;
INSERT INTO last_delivery (id, journal, at)
SELECT 1, id, at FROM journal WHERE to_state IN ('delivering', 'delivered') ORDER BY id DESC LIMIT 1;

-- How many rewards are in each state.
CREATE TABLE reward_states (
    state   TEXT PRIMARY KEY,
    rewards INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO reward_states (state, rewards) SELECT state, count(*) FROM rewards GROUP BY state;

-- What happened since the ledger began. Counts only grow.
CREATE TABLE counts (
    what    TEXT NOT NULL CHECK (what IN ('attempts', 'passes', 'api_requests', 'waits', 'waited_ms')),
    kind    TEXT NOT NULL, -- of attempts the unit; of passes the kind of failure; of waits the bucket
    outcome TEXT NOT NULL, -- of attempts
    count   INTEGER NOT NULL,
    PRIMARY KEY (what, kind, outcome)
) STRICT, WITHOUT ROWID;
INSERT INTO counts (what, kind, outcome, count)
SELECT 'attempts', coalesce(unit, ''), outcome, count(*)
FROM attempts JOIN rewards USING (commission_id) WHERE outcome IS NOT NULL GROUP BY 2, 3;
INSERT INTO counts (what, kind, outcome, count)
SELECT 'passes', iif(error IS NULL, '', coalesce(error_kind, 'unknown')), '', count(*)
FROM passes WHERE finished IS NOT NULL GROUP BY 2;
INSERT INTO counts (what, kind, outcome, count)
SELECT 'api_requests', '', '', sum(api_requests) FROM passes WHERE finished IS NOT NULL HAVING count(*) > 0;
INSERT INTO counts (what, kind, outcome, count)
WITH waits AS MATERIALIZED (
    SELECT max(0, CAST(round((julianday(delivered_at) - julianday(approved_at)) * 86400000) AS INTEGER)) AS ms
    FROM journal JOIN rewards USING (commission_id)
    WHERE to_state = 'delivered' AND from_state = 'delivering' AND delivered_by = 'makegood'
)
SELECT 'waits',
       CASE WHEN ms <= 60000 THEN '60' WHEN ms <= 300000 THEN '300' WHEN ms <= 900000 THEN '900' WHEN ms <= 1800000 THEN '1800'
            WHEN ms <= 3600000 THEN '3600' WHEN ms <= 10800000 THEN '10800' WHEN ms <= 21600000 THEN '21600'
            WHEN ms <= 86400000 THEN '86400' WHEN ms <= 259200000 THEN '259200' WHEN ms <= 604800000 THEN '604800'
            ELSE 'longer' END,
       '', count(*)
FROM waits WHERE ms IS NOT NULL GROUP BY 2
UNION ALL
SELECT 'waited_ms', '', '', sum(ms) FROM waits HAVING count(ms) > 0;
