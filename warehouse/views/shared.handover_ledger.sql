-- One row a step of a lead between marketing and sales, in both teams' words: what was offered, what sales answered and
-- why, how soon it was followed up, what it had cost and what it brought. Steps that did not fit stay, `ignored`.
--
-- grain: handover_id
--
-- handover_id: The step.
-- lead_type: What is handed over: an `opportunity`, else an `account` or a `customer`.
-- lead_id: Its id.
-- customer_id: The customer.
-- account_id: The account.
-- step: `offered`, `accepted`, `rejected` or `recycled`; `created` where sales made the opportunity.
-- occurred_at: When.
-- status: `applied`, or `ignored` where the step did not fit.
-- ignored_reason: Why it did not fit.
-- state: The state after the step: `marketing`, `offered` or `sales`.
-- owner_team: Who owns the lead after the step.
-- owner: The person who owns it after the step.
-- reason: Why it was rejected or recycled, as sales said.
-- shared: The customer is a shared identifier's: the step is in no count.
-- answer: Of an offer: `accepted`, `rejected` or `recycled`; NULL while open.
-- answered_at: Of an offer: when it was answered.
-- answer_reason: Of an offer: why it was rejected or recycled.
-- answered_by: Of an offer: who owned the lead after the answer.
-- due_at: Of an offer: until when sales had to follow up.
-- first_follow_up_at: Of an offer: the first one-to-one touch of sales after it.
-- follow_up: Of an offer: `in_time`, `late`, `overdue` (none, and the time is over), `waiting` (none yet), or
--   `not_needed` (rejected or recycled before anybody followed up).
-- hours_to_follow_up: Of an offer: hours from the offer to the follow-up, nights and weekends included.
-- expected_micros: The expected value known at the step, in millionths.
-- expected_currency: Its currency.
-- cost_micros: Of an offer: what was spent to bring it here, in millionths; NULL where several currencies were.
-- cost_currency: Its currency.
-- outcome: What became of the lead so far: `won`, `lost` or `open`; an account or customer is won by a conversion since.
-- booked_micros: Of an offer: what it brought before the next offer, in millionths; NULL without, or in several currencies.
-- booked_currency: Its currency.
-- net_micros: Of an offer: the same, less refunds.
WITH present AS (SELECT max(as_of) AS as_of FROM journey.clock),
answers AS (
    SELECT subject_type, subject_id, step, occurred_at, min(reason) AS reason, min(owner) AS owner
    FROM journey.handovers
    WHERE status = 'applied' AND step IN ('accepted', 'rejected', 'recycled')
    GROUP BY subject_type, subject_id, step, occurred_at
),
brought AS (
    SELECT
        handover_id,
        CASE WHEN count(*) = 1 THEN min(currency) END AS currency,
        CASE WHEN count(*) = 1 THEN min(booked_micros) END AS booked_micros,
        CASE WHEN count(*) = 1 THEN min(net_micros) END AS net_micros
    FROM shared.offer_bookings
    GROUP BY handover_id
),
bought AS (
    SELECT subject_type, subject_id, max(occurred_at) AS last_at
    FROM journey.conversions
    GROUP BY subject_type, subject_id
)
SELECT
    h.handover_id, h.subject_type AS lead_type, h.subject_id AS lead_id, h.customer_id, h.account_id,
    h.step, h.occurred_at, h.status, h.ignored_reason, h.state, h.owner_team, h.owner, h.reason,
    coalesce(j.shared, FALSE) AND h.account_id IS NULL AS shared,
    h.answer, h.answered_at, answers.reason AS answer_reason, answers.owner AS answered_by,
    h.due_at, h.first_follow_up_at,
    CASE
        WHEN h.step <> 'offered' OR h.status <> 'applied' THEN NULL
        WHEN h.first_follow_up_at <= h.due_at THEN 'in_time'
        WHEN h.first_follow_up_at IS NOT NULL THEN 'late'
        WHEN h.answer IN ('rejected', 'recycled') THEN 'not_needed'
        WHEN h.due_at < present.as_of THEN 'overdue'
        ELSE 'waiting'
    END AS follow_up,
    epoch(h.first_follow_up_at - h.occurred_at) / 3600 AS hours_to_follow_up,
    h.expected_micros, h.expected_currency, h.cost_micros, h.currency AS cost_currency,
    CASE
        WHEN h.subject_type = 'opportunity' THEN coalesce(o.outcome, 'open')
        WHEN bought.last_at >= h.occurred_at THEN 'won'
        ELSE 'open'
    END AS outcome,
    brought.booked_micros, brought.currency AS booked_currency, brought.net_micros
FROM journey.handovers AS h
CROSS JOIN present
LEFT JOIN journey.journeys AS j ON j.customer_id = h.customer_id
LEFT JOIN journey.opportunities AS o ON h.subject_type = 'opportunity' AND o.opportunity_id = h.subject_id
LEFT JOIN answers
    ON answers.subject_type = h.subject_type AND answers.subject_id = h.subject_id
    AND answers.step = h.answer AND answers.occurred_at = h.answered_at
LEFT JOIN bought ON bought.subject_type = h.subject_type AND bought.subject_id = h.subject_id
LEFT JOIN brought ON brought.handover_id = h.handover_id
