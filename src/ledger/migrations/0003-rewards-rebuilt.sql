-- New words and columns in `rewards`: a CHECK cannot be changed in place, so the table is made anew and takes the old one's
-- name. The runner has put foreign keys off, dropped views and triggers, and makes them anew afterwards (views.sql,
-- guards.sql).

CREATE TABLE rewards_rebuilt (
    commission_id    INTEGER PRIMARY KEY,
    state            TEXT NOT NULL CHECK (state IN
                         ('waiting', 'delivering', 'delivered', 'fulfilled', 'held', 'cancelled', 'reversed', 'dismissed')),
    state_since      TEXT NOT NULL,
    unit             TEXT,
    amount           INTEGER CHECK (amount > 0),
    recipient        TEXT CHECK (recipient IN ('promoter', 'referral')),
    promoter_id      INTEGER,
    promoter_email   TEXT,
    promoter_name    TEXT,
    referral_id      INTEGER,
    referral_email   TEXT,
    referral_uid     TEXT,
    campaign_id      INTEGER,
    campaign_name    TEXT,
    reward_id        INTEGER,
    reward_name      TEXT,
    approved_at      TEXT,
    created_at       TEXT,
    first_seen_at    TEXT NOT NULL,
    owed_since       TEXT NOT NULL,                 -- when it was last found owed anew; the grace period never starts later
    target           TEXT,
    key              TEXT NOT NULL UNIQUE CHECK (key GLOB 'fp-?*-' || commission_id),
    attempts         INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    failures         INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),   -- in a row: what the backoff counts
    first_attempt_at TEXT,                          -- of this row of failures: what giving up counts from
    uncertain        INTEGER NOT NULL DEFAULT 0 CHECK (uncertain IN (0, 1)), -- some attempt may have taken effect
    next_attempt_at  TEXT,
    last_error       TEXT,
    receipt          TEXT,
    delivered_at     TEXT,
    delivered_by     TEXT CHECK (delivered_by IN ('makegood', 'outside', 'operator')),
    fulfilled_at     TEXT,
    mark_attempts    INTEGER NOT NULL DEFAULT 0 CHECK (mark_attempts >= 0),  -- passes in a row that could not mark it
    mark_error       TEXT,
    hold_reason      TEXT CHECK (hold_reason IN
                         ('backlog', 'fraud_suspicion', 'self_referral', 'over_limit', 'fuse', 'bad_amount', 'unknown_unit',
                          'no_route', 'no_recipient', 'recipient_unknown', 'unreadable', 'refused_by_target', 'outcome_unknown',
                          'gave_up', 'changed')),
    drift            TEXT CHECK (drift IN ('unfulfilled_upstream', 'fulfilled_after_reversal')),
    fingerprint      TEXT,                          -- of the target of the last attempt, as it was then
    CHECK ((state = 'held') = (hold_reason IS NOT NULL)),
    CHECK (state <> 'waiting' OR next_attempt_at IS NOT NULL),
    CHECK (state <> 'delivering' OR (target IS NOT NULL AND attempts > 0 AND unit IS NOT NULL AND amount IS NOT NULL
                                     AND recipient IS NOT NULL)),
    CHECK (state <> 'delivered' OR (delivered_at IS NOT NULL AND delivered_by IS NOT NULL)),
    CHECK (state <> 'fulfilled' OR (fulfilled_at IS NOT NULL AND delivered_by IS NOT NULL)),
    CHECK (state <> 'cancelled' OR (delivered_at IS NULL AND uncertain = 0)),
    CHECK (drift IS NULL OR state = iif(drift = 'fulfilled_after_reversal', 'reversed', 'fulfilled')),
    -- Times of ours, in whole seconds or milliseconds: what cannot be read would stop every pass. FirstPromoter's may be finer.
    CHECK (state_since IS strftime('%Y-%m-%dT%H:%M:%fZ', state_since) OR state_since IS strftime('%Y-%m-%dT%H:%M:%SZ', state_since)),
    CHECK (first_seen_at IS strftime('%Y-%m-%dT%H:%M:%fZ', first_seen_at) OR first_seen_at IS strftime('%Y-%m-%dT%H:%M:%SZ', first_seen_at)),
    CHECK (owed_since IS strftime('%Y-%m-%dT%H:%M:%fZ', owed_since) OR owed_since IS strftime('%Y-%m-%dT%H:%M:%SZ', owed_since)),
    CHECK (first_attempt_at IS strftime('%Y-%m-%dT%H:%M:%fZ', first_attempt_at) OR first_attempt_at IS strftime('%Y-%m-%dT%H:%M:%SZ', first_attempt_at)),
    CHECK (next_attempt_at IS strftime('%Y-%m-%dT%H:%M:%fZ', next_attempt_at) OR next_attempt_at IS strftime('%Y-%m-%dT%H:%M:%SZ', next_attempt_at)),
    CHECK (delivered_at IS strftime('%Y-%m-%dT%H:%M:%fZ', delivered_at) OR delivered_at IS strftime('%Y-%m-%dT%H:%M:%SZ', delivered_at)),
    CHECK (fulfilled_at IS strftime('%Y-%m-%dT%H:%M:%fZ', fulfilled_at) OR fulfilled_at IS strftime('%Y-%m-%dT%H:%M:%SZ', fulfilled_at)),
    CHECK (approved_at GLOB '????-??-??T??:??:??*Z'),
    CHECK (created_at GLOB '????-??-??T??:??:??*Z')
) STRICT;

INSERT INTO rewards_rebuilt (
    commission_id, state, state_since, unit, amount, recipient, promoter_id, promoter_email, promoter_name, referral_id,
    referral_email, referral_uid, campaign_id, campaign_name, reward_id, reward_name, approved_at, created_at,
    first_seen_at, owed_since, target, key, attempts, failures, first_attempt_at, uncertain, next_attempt_at,
    last_error, receipt, delivered_at, delivered_by, fulfilled_at, mark_attempts, mark_error, hold_reason, drift
) SELECT
    commission_id, state, state_since, unit, amount, recipient, promoter_id, promoter_email, promoter_name, referral_id,
    referral_email, referral_uid, campaign_id, campaign_name, reward_id, reward_name, approved_at, created_at,
    first_seen_at, owed_since, target, key, attempts, failures, first_attempt_at, uncertain, next_attempt_at,
    last_error, receipt, delivered_at, delivered_by, fulfilled_at, mark_attempts, mark_error, hold_reason, drift
FROM rewards;
DROP TABLE rewards;
ALTER TABLE rewards_rebuilt RENAME TO rewards;

-- What a pass looks at each time: it follows the backlog, not history.
CREATE INDEX rewards_open ON rewards (state, next_attempt_at) WHERE state IN ('waiting', 'delivering', 'delivered', 'held');
CREATE INDEX rewards_drift ON rewards (commission_id) WHERE drift IS NOT NULL;
CREATE INDEX rewards_fulfilled ON rewards (fulfilled_at) WHERE state = 'fulfilled';
-- Watched for a while: FirstPromoter may call them fulfilled after all.
CREATE INDEX rewards_reversed ON rewards (state_since) WHERE state = 'reversed';
CREATE INDEX rewards_promoter_email ON rewards (promoter_email);
CREATE INDEX rewards_referral_email ON rewards (referral_email);

-- Of the target at that time: type, address, whether it deduplicates.
ALTER TABLE attempts ADD COLUMN fingerprint TEXT;

-- Targets in trouble: a row while the last attempts at it failed or were refused.
CREATE TABLE target_health_rebuilt (
    target     TEXT PRIMARY KEY,
    failures   INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0), -- in a row, whatever the reward
    refusals   INTEGER NOT NULL DEFAULT 0 CHECK (refusals >= 0), -- in a row, of different rewards
    retry_at   TEXT,                                             -- nothing is delivered there before; then one goes first
    last_error TEXT,                                             -- what it said last
    CHECK (failures > 0 OR refusals > 0)
) STRICT;
INSERT INTO target_health_rebuilt (target, failures, retry_at) SELECT target, failures, retry_at FROM target_health;
DROP TABLE target_health;
ALTER TABLE target_health_rebuilt RENAME TO target_health;

-- A row while this ledger may have forgotten deliveries: it is a copy, or was found to be one. Nothing is delivered from it,
-- and it gives nobody a claim (guards.sql), until a person accepts it (`makegood ledger accept --yes`).
CREATE TABLE may_have_forgotten (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    why     TEXT NOT NULL CHECK (why IN ('copy', 'behind', 'no_mark')),
    ends_at TEXT NOT NULL -- the time of its last journal entry when that was found out
) STRICT;
