-- One row an opportunity that counts: those of shared identifiers without an account are left out.
--
-- grain: opportunity_id
--
-- opportunity_id: The opportunity.
-- customer_id: The customer.
-- account_id: The account.
-- created_at: When it was created.
-- closed_at: When it was won or lost; NULL while open at the present.
-- outcome: `won`, `lost` or `open`.
-- stage: The name of its stage in the source.
-- owner_team: Who owns it.
-- owner: The person who owns it.
-- expected_micros: The expected value said last, in millionths; NULL where none was said.
-- currency: The currency of its expected value, else of its bookings; NULL without either.
-- lost_reason: Why it was lost.
SELECT
    o.opportunity_id, o.customer_id, o.account_id, o.created_at,
    CASE WHEN o.closed_at <= present.as_of THEN o.closed_at END AS closed_at,
    CASE WHEN o.closed_at <= present.as_of THEN o.outcome ELSE 'open' END AS outcome,
    o.stage, o.owner_team, o.owner, o.expected_micros,
    coalesce(o.expected_currency, o.currency) AS currency,
    o.lost_reason
FROM journey.opportunities AS o
CROSS JOIN (SELECT max(as_of) AS as_of FROM journey.clock) AS present
LEFT JOIN journey.journeys AS j ON j.customer_id = o.customer_id
WHERE o.created_at <= present.as_of AND (o.account_id IS NOT NULL OR NOT coalesce(j.shared, FALSE))
