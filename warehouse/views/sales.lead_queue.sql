-- One row a lead that sales holds or was offered and that is not decided: whom to turn to first, and what marketing knows
-- about them. Ordered by what is overdue, then by what is due first. Shared identifiers are left out.
--
-- grain: lead_type, lead_id
--
-- position: Its place in the queue, from 1.
-- waiting_for: What sales owes: an `answer` to the offer, a first `follow_up`, or to go on (`closing`).
-- overdue: Nobody has followed up, and the agreed time is over.
-- due_at: Until when the first follow-up is due.
-- lead_type: `opportunity`, `account` or `customer`.
-- lead_id: Its id.
-- account_id: The account.
-- customer_id: The customer.
-- name: The name of the account, else of the customer.
-- owner: The person who owns it.
-- offered_at: When marketing offered it, the last time.
-- offers: How many times it was offered.
-- expected_micros: Its expected value at the offer, in millionths.
-- expected_currency: Its currency.
-- cost_micros: What was spent to bring it here, in millionths; NULL in several currencies.
-- cost_currency: Its currency.
-- current_stage: The stage of the account, else of the customer.
-- touches: Touches of the account, else of the customer.
-- last_touch_at: The last of them.
-- last_touch_kind: What that was.
-- recent_content: What they saw, visited or asked last, the newest first, at most five.
WITH steps AS (
    SELECT
        *,
        row_number() OVER newest AS age,
        first_value(state) OVER newest AS state_now,
        first_value(owner) OVER newest AS owner_now,
        count(*) FILTER (step = 'offered') OVER (PARTITION BY lead_type, lead_id) AS offers
    FROM shared.handover_ledger
    WHERE status = 'applied'
    WINDOW newest AS (PARTITION BY lead_type, lead_id ORDER BY occurred_at DESC, handover_id DESC)
),
leads AS (
    SELECT *
    FROM steps
    WHERE step = 'offered' AND state_now IN ('offered', 'sales') AND NOT shared AND outcome = 'open'
    QUALIFY row_number() OVER (PARTITION BY lead_type, lead_id ORDER BY occurred_at DESC, handover_id DESC) = 1
),
subjects AS (
    SELECT
        handover_id, CASE WHEN account_id IS NULL THEN 'customer' ELSE 'account' END AS subject_type,
        coalesce(account_id, customer_id) AS subject_id
    FROM leads
),
known AS (
    SELECT s.handover_id, t.occurred_at, t.event_id, t.kind, t.content
    FROM subjects AS s
    JOIN shared.counted_touches AS t ON s.subject_type = 'account' AND t.account_id = s.subject_id
    UNION ALL
    SELECT s.handover_id, t.occurred_at, t.event_id, t.kind, t.content
    FROM subjects AS s
    JOIN shared.counted_touches AS t ON s.subject_type = 'customer' AND t.customer_id = s.subject_id
),
touches AS (
    SELECT
        handover_id, count(*) AS touches, max(occurred_at) AS last_touch_at,
        arg_max(kind, (occurred_at, event_id)) AS last_touch_kind,
        list(content ORDER BY occurred_at DESC, event_id DESC) FILTER (content IS NOT NULL)[:5] AS recent_content
    FROM known
    GROUP BY handover_id
),
queue AS (
    SELECT
        CASE
            WHEN l.answer IS NULL THEN 'answer' WHEN l.first_follow_up_at IS NULL THEN 'follow_up' ELSE 'closing'
        END AS waiting_for,
        l.follow_up = 'overdue' AS overdue, l.due_at, l.lead_type, l.lead_id, l.account_id, l.customer_id,
        n.value AS name, l.owner_now AS owner, l.occurred_at AS offered_at, l.offers,
        l.expected_micros, l.expected_currency, l.cost_micros, l.cost_currency,
        CASE WHEN l.account_id IS NULL THEN j.current_stage ELSE a.current_stage END AS current_stage,
        coalesce(t.touches, 0) AS touches, t.last_touch_at, t.last_touch_kind,
        coalesce(t.recent_content, []) AS recent_content, l.handover_id
    FROM leads AS l
    JOIN subjects AS s USING (handover_id)
    LEFT JOIN touches AS t USING (handover_id)
    LEFT JOIN journey.journeys AS j ON j.customer_id = l.customer_id
    LEFT JOIN journey.accounts AS a ON a.account_id = l.account_id
    LEFT JOIN shared.attributes AS n
        ON n.subject_type = s.subject_type AND n.subject_id = s.subject_id AND n.attribute = 'name'
)
SELECT
    row_number() OVER (
        ORDER BY overdue DESC, waiting_for = 'closing', due_at, expected_micros DESC NULLS LAST, handover_id
    ) AS position,
    * EXCLUDE (handover_id)
FROM queue
