-- One row a person, with the account that they belong to: who they are, where they stand, when they were touched last.
-- An account of which no person is known has one row without a customer. Shared identifiers are left out.
--
-- grain: account_id, customer_id
--
-- account_id: The account; NULL for a consumer.
-- account_name: Its name.
-- account_stage: The stage of the account now.
-- account_status: `open`, `customer`, `lost` or `churned`.
-- customer_id: The person; NULL where nobody of the account is known.
-- name: Their name.
-- role: Their role, as profiles say.
-- key_contact: Profiles mark them as a key contact of the account.
-- current_stage: The person's stage now.
-- furthest_stage: The furthest stage that the person reached.
-- status: `open`, `customer`, `lost` or `churned`.
-- touches: Touches of the person (of the account where nobody is known).
-- last_touch_at: The last of them.
-- last_touch_kind: What that was.
-- last_touch_team: Which team made it.
-- days_since_last_touch: Whole days from it to the present.
-- open_opportunities: Open opportunities of the account, else of the person.
WITH present AS (SELECT max(as_of) AS as_of FROM journey.clock),
people AS (
    SELECT
        coalesce(j.account_id, a.account_id) AS account_id, a.current_stage AS account_stage, a.status AS account_status,
        a.key_contacts, j.customer_id, j.current_stage, j.furthest_stage, j.status,
        coalesce(j.touches, a.touches) AS touches, coalesce(j.last_touch_at, a.last_touch_at) AS last_touch_at
    FROM shared.counted_journeys AS j
    FULL JOIN journey.accounts AS a ON a.account_id = j.account_id
),
customer_touches AS (
    SELECT customer_id, arg_max(kind, (occurred_at, event_id)) AS kind, arg_max(team, (occurred_at, event_id)) AS team
    FROM shared.counted_touches
    WHERE customer_id IS NOT NULL
    GROUP BY customer_id
),
account_touches AS (
    SELECT account_id, arg_max(kind, (occurred_at, event_id)) AS kind, arg_max(team, (occurred_at, event_id)) AS team
    FROM shared.counted_touches
    WHERE account_id IS NOT NULL
    GROUP BY account_id
),
open_deals AS (
    SELECT account_id, CASE WHEN account_id IS NULL THEN customer_id END AS customer_id, count(*) AS open_opportunities
    FROM shared.counted_opportunities
    WHERE outcome = 'open'
    GROUP BY ALL
)
SELECT
    p.account_id, an.value AS account_name, p.account_stage, p.account_status, p.customer_id,
    cn.value AS name, cr.value AS role,
    coalesce(list_contains(p.key_contacts, p.customer_id), FALSE) AS key_contact,
    p.current_stage, p.furthest_stage, p.status, p.touches, p.last_touch_at,
    CASE WHEN p.customer_id IS NULL THEN al.kind ELSE cl.kind END AS last_touch_kind,
    CASE WHEN p.customer_id IS NULL THEN al.team ELSE cl.team END AS last_touch_team,
    datesub('day', p.last_touch_at, present.as_of) AS days_since_last_touch,
    coalesce(o.open_opportunities, 0) AS open_opportunities
FROM people AS p
CROSS JOIN present
LEFT JOIN shared.attributes AS an
    ON an.subject_type = 'account' AND an.subject_id = p.account_id AND an.attribute = 'name'
LEFT JOIN shared.attributes AS cn
    ON cn.subject_type = 'customer' AND cn.subject_id = p.customer_id AND cn.attribute = 'name'
LEFT JOIN shared.attributes AS cr
    ON cr.subject_type = 'customer' AND cr.subject_id = p.customer_id AND cr.attribute = 'role'
LEFT JOIN customer_touches AS cl ON cl.customer_id = p.customer_id
LEFT JOIN account_touches AS al ON al.account_id = p.account_id
LEFT JOIN open_deals AS o
    ON o.account_id IS NOT DISTINCT FROM p.account_id
    AND o.customer_id IS NOT DISTINCT FROM CASE WHEN p.account_id IS NULL THEN p.customer_id END
