-- What people and monitoring systems read. Dropped and made anew at every migration.

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
       CASE
           WHEN state = 'delivered' THEN mark_error
           WHEN state = 'held' AND uncertain AND hold_reason <> 'outcome_unknown' THEN
               'an attempt may have taken effect' || coalesce('; ' || last_error, '')
           ELSE last_error
       END AS detail,
       -- A person who is not told would have it delivered a second time.
       iif(state = 'held' AND uncertain AND hold_reason <> 'outcome_unknown',
           'An attempt may have taken effect: look in the target for key ' || key || ' before all else; if it is there, `makegood resolve ' || commission_id || ' --delivered`. ',
           '') ||
       CASE
           WHEN state = 'delivered' THEN
               'The recipient has it, but FirstPromoter does not mark it fulfilled. Mark it fulfilled there; makegood then sees it.'
           WHEN drift = 'fulfilled_after_reversal' THEN
               'A person reversed it, and FirstPromoter calls it fulfilled all the same: a batch that was under way may have landed late. Mark it unfulfilled there; makegood does not deliver it again.'
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
               WHEN 'unreadable' THEN 'FirstPromoter says something of it that makegood cannot read, such as an unknown status or no campaign: see its detail. Correct or deny it in FirstPromoter, or look for a newer makegood.'
               WHEN 'refused_by_target' THEN 'The target said no. Look at `makegood show ' || commission_id || '`, then `makegood resolve ' || commission_id || ' --retry`, or --delivered, or --dismiss.'
               WHEN 'outcome_unknown' THEN 'It may or may not have taken effect. Look in the target for key ' || key || ', then `makegood resolve ' || commission_id || ' --delivered` or --retry, or --dismiss.'
               WHEN 'gave_up' THEN 'No attempt had a good answer for longer than policy.retry.give_up_after. Repair the target, then `makegood resolve ' || commission_id || ' --retry`, or --dismiss.'
               WHEN 'changed' THEN 'FirstPromoter says something else of it than before, or calls it neither fulfilled nor unfulfilled. Look at it there, then `makegood resolve ' || commission_id || ' --delivered` or --retry, or --dismiss.'
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
SELECT id AS pass_id, trigger, kind, started, finished, listed, missing, delivered, fulfilled, held, failed, api_requests, error,
       error_kind
FROM passes WHERE id = (SELECT max(id) FROM passes);

CREATE VIEW targets AS
SELECT target, failures, refusals, retry_at, last_error FROM target_health ORDER BY target;
