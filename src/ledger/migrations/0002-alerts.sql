-- What people were alerted to and is not over: a restart does not repeat an alert, and an all-clear is never forgotten.
-- `attention`, `failing`, `handler`: an all-clear is owed. `attention 88901 gave_up 2026-...`: this reward was named.
CREATE TABLE alerts (
    subject TEXT PRIMARY KEY,
    sent_at TEXT NOT NULL
) STRICT;

-- What counting reads on from: the few rows that are not final yet.
CREATE INDEX attempts_open ON attempts (id) WHERE finished_at IS NULL;
CREATE INDEX passes_open ON passes (id) WHERE finished IS NULL;
