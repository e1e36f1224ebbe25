-- Counts that are kept as they grow, whoever writes. Dropped and made anew at every migration.

CREATE TRIGGER count_a_new_reward AFTER INSERT ON rewards
BEGIN
    INSERT INTO reward_states (state, rewards) VALUES (NEW.state, 1) ON CONFLICT (state) DO UPDATE SET rewards = rewards + 1;
END;

CREATE TRIGGER count_a_reward_that_moves AFTER UPDATE OF state ON rewards WHEN NEW.state <> OLD.state
BEGIN
    UPDATE reward_states SET rewards = rewards - 1 WHERE state = OLD.state;
    INSERT INTO reward_states (state, rewards) VALUES (NEW.state, 1) ON CONFLICT (state) DO UPDATE SET rewards = rewards + 1;
END;

CREATE TRIGGER count_an_attempt AFTER UPDATE OF outcome ON attempts WHEN OLD.outcome IS NULL AND NEW.outcome IS NOT NULL
BEGIN
    INSERT INTO counts (what, kind, outcome, count)
    SELECT 'attempts', coalesce(unit, ''), NEW.outcome, 1 FROM rewards WHERE commission_id = NEW.commission_id
    ON CONFLICT (what, kind, outcome) DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER count_a_pass AFTER UPDATE OF finished ON passes WHEN OLD.finished IS NULL AND NEW.finished IS NOT NULL
BEGIN
    INSERT INTO counts (what, kind, outcome, count)
    VALUES ('passes', iif(NEW.error IS NULL, '', coalesce(NEW.error_kind, 'unknown')), '', 1),
           ('api_requests', '', '', NEW.api_requests)
    ON CONFLICT (what, kind, outcome) DO UPDATE SET count = count + excluded.count;
END;

-- How long rewards waited that makegood delivered: from their approval. A reward is delivered once.
CREATE TRIGGER count_a_wait AFTER INSERT ON journal WHEN NEW.to_state = 'delivered' AND NEW.from_state = 'delivering'
BEGIN
    INSERT INTO counts (what, kind, outcome, count)
    SELECT 'waits',
           CASE WHEN ms <= 60000 THEN '60' WHEN ms <= 300000 THEN '300' WHEN ms <= 900000 THEN '900' WHEN ms <= 1800000 THEN '1800'
                WHEN ms <= 3600000 THEN '3600' WHEN ms <= 10800000 THEN '10800' WHEN ms <= 21600000 THEN '21600'
                WHEN ms <= 86400000 THEN '86400' WHEN ms <= 259200000 THEN '259200' WHEN ms <= 604800000 THEN '604800'
                ELSE 'longer' END,
           '', 1
    FROM (SELECT max(0, CAST(round((julianday(delivered_at) - julianday(approved_at)) * 86400000) AS INTEGER)) AS ms
          FROM rewards WHERE commission_id = NEW.commission_id AND delivered_by = 'makegood')
    WHERE ms IS NOT NULL
    ON CONFLICT (what, kind, outcome) DO UPDATE SET count = count + 1;
    INSERT INTO counts (what, kind, outcome, count)
    SELECT 'waited_ms', '', '', ms
    FROM (SELECT max(0, CAST(round((julianday(delivered_at) - julianday(approved_at)) * 86400000) AS INTEGER)) AS ms
          FROM rewards WHERE commission_id = NEW.commission_id AND delivered_by = 'makegood')
    WHERE ms IS NOT NULL
    ON CONFLICT (what, kind, outcome) DO UPDATE SET count = count + excluded.count;
END;

CREATE TRIGGER note_the_last_delivery AFTER INSERT ON journal WHEN NEW.to_state IN ('delivering', 'delivered')
BEGIN
    INSERT INTO last_delivery (id, journal, at) VALUES (1, NEW.id, NEW.at)
    ON CONFLICT (id) DO UPDATE SET journal = excluded.journal, at = excluded.at;
END;

CREATE TRIGGER note_that_something_happened AFTER INSERT ON journal WHEN NEW.pass_id IS NOT NULL
BEGIN
    UPDATE passes SET happened = 1 WHERE id = NEW.pass_id AND happened = 0;
END;
CREATE TRIGGER note_that_something_was_tried AFTER INSERT ON attempts WHEN NEW.pass_id IS NOT NULL
BEGIN
    UPDATE passes SET happened = 1 WHERE id = NEW.pass_id AND happened = 0;
END;
