-- One row an offer of a lead to sales and currency: what the lead has brought since the offer and before the next
-- offer of the same lead.
--
-- grain: handover_id, currency
--
-- handover_id: The offer.
-- currency: The currency.
-- conversions: How many conversions.
-- booked_micros: Booked money, in millionths.
-- net_micros: Booked less refunded, in millionths.
WITH offers AS (
    SELECT
        handover_id, subject_type, subject_id, occurred_at,
        lead(occurred_at) OVER (
            PARTITION BY subject_type, subject_id ORDER BY occurred_at, handover_id
        ) AS next_offer_at
    FROM journey.handovers
    WHERE step = 'offered' AND status = 'applied'
),
sold AS (
    SELECT 'opportunity' AS subject_type, opportunity_id AS subject_id, occurred_at, currency, amount_micros, net_micros
    FROM journey.conversions
    WHERE opportunity_id IS NOT NULL
    UNION ALL
    SELECT subject_type, subject_id, occurred_at, currency, amount_micros, net_micros
    FROM journey.conversions
)
SELECT
    offers.handover_id, sold.currency,
    count(*) AS conversions,
    CAST(sum(sold.amount_micros) AS BIGINT) AS booked_micros,
    CAST(sum(sold.net_micros) AS BIGINT) AS net_micros
FROM offers
JOIN sold USING (subject_type, subject_id)
WHERE sold.occurred_at >= offers.occurred_at
    AND (offers.next_offer_at IS NULL OR sold.occurred_at < offers.next_offer_at)
GROUP BY offers.handover_id, sold.currency
