-- Why a reward waits, in a column. Before, `makegood show` guessed it: a wait that ends when a target's does waits for that
-- target; one after a failure is a backoff; any other is the grace period. The rows of earlier versions get what was guessed.

ALTER TABLE rewards ADD COLUMN wait_reason TEXT -- of what waits; means nothing in other states
    CHECK (wait_reason IN ('due', 'grace', 'backoff', 'claimed', 'target'));
UPDATE rewards SET wait_reason = iif(failures > 0, 'backoff', 'grace') WHERE state = 'waiting';

-- No makegood writes a doubt without a target. It stays a doubt: a target of this name is never configured.
UPDATE rewards SET target = '?' WHERE uncertain AND target IS NULL;

-- The last column of all: its CHECKs are about the others, too, and hold for the rows that are there.
ALTER TABLE rewards ADD COLUMN wait_target TEXT -- the target in trouble that it waits for
    CHECK (state <> 'waiting' OR wait_reason IS NOT NULL)
    CHECK (state <> 'waiting' OR wait_reason <> 'target' OR wait_target IS NOT NULL)
    CHECK (uncertain = 0 OR target IS NOT NULL);
UPDATE rewards SET wait_reason = 'target', wait_target = health.target
FROM (SELECT retry_at, min(target) AS target FROM target_health GROUP BY retry_at) AS health
WHERE rewards.state = 'waiting' AND rewards.next_attempt_at = health.retry_at;
