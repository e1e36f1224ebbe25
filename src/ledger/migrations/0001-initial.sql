-- The ledger of one account. Times are RFC 3339 UTC text. Rows of `rewards` are never deleted: a forgotten delivery is
-- a double delivery. What a column may hold is said here, so that no program, ours or another's, can write nonsense.

CREATE TABLE account (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    account_id TEXT NOT NULL,
    bound_at   TEXT NOT NULL
) STRICT;

CREATE TABLE rewards (
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
                          'no_route', 'no_recipient', 'recipient_unknown', 'refused_by_target', 'outcome_unknown', 'gave_up',
                          'changed')),
    drift            TEXT CHECK (drift IN ('unfulfilled_upstream')),
    CHECK ((state = 'held') = (hold_reason IS NOT NULL)),
    CHECK (state <> 'waiting' OR next_attempt_at IS NOT NULL),
    CHECK (state <> 'delivering' OR (target IS NOT NULL AND attempts > 0 AND unit IS NOT NULL AND amount IS NOT NULL
                                     AND recipient IS NOT NULL)),
    CHECK (state <> 'delivered' OR (delivered_at IS NOT NULL AND delivered_by IS NOT NULL)),
    CHECK (state <> 'fulfilled' OR (fulfilled_at IS NOT NULL AND delivered_by IS NOT NULL)),
    CHECK (state <> 'cancelled' OR (delivered_at IS NULL AND uncertain = 0)),
    CHECK (drift IS NULL OR state = 'fulfilled'),
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

-- What a pass looks at each time: it follows the backlog, not history.
CREATE INDEX rewards_open ON rewards (state, next_attempt_at) WHERE state IN ('waiting', 'delivering', 'delivered', 'held');
CREATE INDEX rewards_drift ON rewards (commission_id) WHERE drift IS NOT NULL;
CREATE INDEX rewards_fulfilled ON rewards (fulfilled_at) WHERE state = 'fulfilled';
CREATE INDEX rewards_promoter_email ON rewards (promoter_email);
CREATE INDEX rewards_referral_email ON rewards (referral_email);

CREATE TRIGGER rewards_are_never_deleted BEFORE DELETE ON rewards
BEGIN SELECT RAISE(ABORT, 'rewards are never deleted: a forgotten delivery is a double delivery'); END;

-- REPLACE deletes the row that is in its way without firing the trigger above. What the journal knows was there before.
CREATE TRIGGER rewards_are_never_replaced AFTER INSERT ON rewards
WHEN EXISTS (SELECT 1 FROM journal WHERE commission_id = NEW.commission_id)
BEGIN SELECT RAISE(ABORT, 'rewards are never replaced: a forgotten delivery is a double delivery'); END;

CREATE TRIGGER rewards_keep_their_key BEFORE UPDATE OF commission_id, key ON rewards
WHEN NEW.commission_id <> OLD.commission_id OR NEW.key <> OLD.key
BEGIN SELECT RAISE(ABORT, 'a reward keeps its commission and its key for ever'); END;

CREATE TRIGGER delivered_is_never_delivered_again BEFORE UPDATE OF state ON rewards
WHEN (OLD.state = 'delivered' AND NEW.state NOT IN ('delivered', 'fulfilled', 'reversed'))
  OR (OLD.state = 'fulfilled' AND NEW.state NOT IN ('fulfilled', 'reversed'))
  OR (OLD.state = 'reversed' AND NEW.state <> 'reversed')
  OR (OLD.state = 'dismissed' AND NEW.state NOT IN ('dismissed', 'delivered'))
BEGIN SELECT RAISE(ABORT, 'what was delivered, or decided by a person, is never delivered again'); END;

CREATE TABLE passes (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    trigger      TEXT NOT NULL,
    kind         TEXT NOT NULL,
    started      TEXT NOT NULL,
    finished     TEXT,
    listed       INTEGER NOT NULL DEFAULT 0,
    missing      INTEGER NOT NULL DEFAULT 0,
    delivered    INTEGER NOT NULL DEFAULT 0,
    fulfilled    INTEGER NOT NULL DEFAULT 0,
    held         INTEGER NOT NULL DEFAULT 0,
    failed       INTEGER NOT NULL DEFAULT 0,
    api_requests INTEGER NOT NULL DEFAULT 0,
    error        TEXT
) STRICT;

CREATE TABLE attempts (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    commission_id INTEGER NOT NULL REFERENCES rewards (commission_id),
    attempt       INTEGER NOT NULL CHECK (attempt > 0),
    target        TEXT NOT NULL,
    started_at    TEXT NOT NULL,
    finished_at   TEXT,
    outcome       TEXT CHECK (outcome IN ('delivered', 'not_delivered', 'unknown', 'refused')),
    detail        TEXT,
    pass_id       INTEGER REFERENCES passes (id),
    UNIQUE (commission_id, attempt),
    CHECK ((finished_at IS NULL) = (outcome IS NULL))
) STRICT;

CREATE TABLE journal (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    commission_id INTEGER NOT NULL REFERENCES rewards (commission_id),
    at            TEXT NOT NULL,
    from_state    TEXT,
    to_state      TEXT NOT NULL,
    reason        TEXT NOT NULL,
    actor         TEXT NOT NULL,
    pass_id       INTEGER REFERENCES passes (id)
) STRICT;
CREATE INDEX journal_commission ON journal (commission_id);

CREATE TRIGGER journal_is_append_only_update BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_is_append_only_delete BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
-- REPLACE, again: an id that is not above all that AUTOINCREMENT has given was there before.
CREATE TRIGGER journal_is_append_only_replace AFTER INSERT ON journal
WHEN NEW.id <= (SELECT seq FROM sqlite_sequence WHERE name = 'journal')
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

-- Who is about to deliver what. A claim may be taken for a commission that no pass has seen yet.
CREATE TABLE claims (
    commission_id INTEGER PRIMARY KEY,
    owner         TEXT NOT NULL,
    claimed_at    TEXT NOT NULL,
    expires_at    TEXT NOT NULL CHECK (julianday(expires_at) IS NOT NULL)
) STRICT;

-- What FirstPromoter's GET /rewards said last: who receives what comes from a rule.
CREATE TABLE reward_rules (
    reward_id  INTEGER PRIMARY KEY,
    name       TEXT,
    recipient  TEXT CHECK (recipient IN ('promoter', 'referral')),
    fetched_at TEXT NOT NULL
) STRICT;

-- Targets in trouble: a row while the last attempts at it failed.
CREATE TABLE target_health (
    target   TEXT PRIMARY KEY,
    failures INTEGER NOT NULL CHECK (failures > 0), -- in a row, whatever the reward
    retry_at TEXT                                   -- nothing is delivered there before; then one goes first
) STRICT;

CREATE VIEW owed AS
SELECT commission_id, state, unit, amount, recipient,
       CASE recipient WHEN 'referral' THEN referral_email ELSE promoter_email END AS recipient_email,
       target, next_attempt_at, attempts, last_error, first_seen_at
FROM rewards WHERE state IN ('waiting', 'delivering')
ORDER BY next_attempt_at, commission_id;

CREATE VIEW attention AS
SELECT commission_id, state,
       CASE WHEN state = 'held' THEN hold_reason WHEN state = 'delivered' THEN 'not_marked' ELSE drift END AS reason,
       state_since AS since, unit, amount, recipient,
       CASE recipient WHEN 'referral' THEN referral_email ELSE promoter_email END AS recipient_email,
       target,
       CASE WHEN state = 'delivered' THEN mark_error ELSE last_error END AS detail,
       CASE
           WHEN state = 'delivered' THEN
               'The recipient has it, but FirstPromoter does not mark it fulfilled. Mark it fulfilled there; makegood then sees it.'
           WHEN drift IS NOT NULL THEN
               'FirstPromoter lists it as unfulfilled again; makegood will not deliver it twice. Mark it fulfilled there, or find out who changed it.'
           ELSE CASE hold_reason
               WHEN 'backlog' THEN 'Approved before policy.deliver_from. Deny it or mark it fulfilled in FirstPromoter, or set an earlier deliver_from.'
               WHEN 'fraud_suspicion' THEN 'FirstPromoter suspects fraud. Deny it there, or clear the suspicion there, or set policy.hold_fraud_suspicion = false.'
               WHEN 'self_referral' THEN 'Promoter and referral look like one person. Deny it in FirstPromoter, or set policy.hold_self_referral = false.'
               WHEN 'over_limit' THEN 'More than policy.max_amount allows for this unit. Deny it in FirstPromoter, or raise the limit.'
               WHEN 'fuse' THEN 'One pass wanted more deliveries than policy.max_deliveries_per_pass. Look at `makegood plan`; if it is right, run `makegood once --max-deliveries N`.'
               WHEN 'bad_amount' THEN 'The amount is not a positive whole number. Correct or deny the commission in FirstPromoter.'
               WHEN 'unknown_unit' THEN 'FirstPromoter uses a unit that this version does not know. Look for a newer makegood, or mark it fulfilled by hand there.'
               WHEN 'no_route' THEN 'No route leads to a target. Add one to [[routes]] (or the unit and campaign to [policy]), or mark it fulfilled by hand in FirstPromoter.'
               WHEN 'no_recipient' THEN 'The party that should receive it is missing from the commission. Correct it in FirstPromoter, or deny it.'
               WHEN 'recipient_unknown' THEN 'Cannot tell whether promoter or referral receives it. Set policy.recipient, or let the API key read /rewards.'
               WHEN 'refused_by_target' THEN 'The target said no. Look at `makegood show ' || commission_id || '`, then `makegood resolve ' || commission_id || ' --retry`, or --delivered, or --dismiss.'
               WHEN 'outcome_unknown' THEN 'It may or may not have taken effect. Look in the target for key ' || key || ', then `makegood resolve ' || commission_id || ' --delivered` or --retry, or --dismiss.'
               WHEN 'gave_up' THEN iif(uncertain, 'No attempt had a good answer for longer than policy.retry.give_up_after, and one may have taken effect. Look in the target for key ' || key || '; then repair', 'All attempts failed for longer than policy.retry.give_up_after. Repair') || ' the target, then `makegood resolve ' || commission_id || ' --retry`, or --dismiss.'
               WHEN 'changed' THEN 'It changed in FirstPromoter after an attempt whose outcome is unknown. Look in the target for key ' || key || ', then `makegood resolve ' || commission_id || ' --delivered` or --retry, or --dismiss.'
           END
       END AS what_to_do
FROM rewards
WHERE state = 'held' OR (state = 'delivered' AND mark_attempts >= 3) OR drift IS NOT NULL
ORDER BY state_since, commission_id;

CREATE VIEW totals AS
SELECT unit, state, count(*) AS rewards, sum(amount) AS amount FROM rewards GROUP BY unit, state ORDER BY unit, state;

CREATE VIEW timeline AS
SELECT commission_id, at, what, detail, pass_id FROM (
    SELECT commission_id, at, coalesce(from_state || ' -> ', '') || to_state AS what, reason || ' (' || actor || ')' AS detail,
           pass_id, 1 AS source, id
    FROM journal
    UNION ALL
    SELECT commission_id, coalesce(finished_at, started_at), 'attempt ' || attempt || ' at ' || target,
           coalesce(outcome, 'cut off, or in flight') || coalesce(': ' || detail, ''), pass_id, 0, id
    FROM attempts
)
ORDER BY commission_id, at, source, id;

CREATE VIEW last_pass AS
SELECT id AS pass_id, trigger, kind, started, finished, listed, missing, delivered, fulfilled, held, failed, api_requests, error
FROM passes ORDER BY id DESC LIMIT 1;
