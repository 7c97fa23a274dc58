-- One row a month and currency: what was spent and what was sold. Both teams' totals are these.
-- Money of conversions counts whoever made them, also where the customer is a shared identifier's.
--
-- grain: month, currency
--
-- month: The first day of the month.
-- currency: The currency.
-- spend_micros: Money spent on days of the month, in millionths.
-- allocated_micros: What of it was shared over touches; the rest reached nobody in particular.
-- conversions: Conversions of the month in the currency.
-- new_buyers: First conversions of an account, or of a customer without one.
-- booked_micros: Booked money of these conversions, in millionths.
-- net_micros: Booked less refunded, in millionths.
WITH parts AS (
    SELECT
        CAST(date_trunc('month', day) AS DATE) AS month, currency, amount_micros AS spend_micros,
        coalesce(allocated_micros, 0) AS allocated_micros, 0 AS conversions, 0 AS new_buyers,
        0 AS booked_micros, 0 AS net_micros
    FROM journey.spend
    UNION ALL
    SELECT
        CAST(date_trunc('month', occurred_at) AS DATE), currency, 0, 0, 1,
        CASE WHEN stage = 'conversion' THEN 1 ELSE 0 END, amount_micros, net_micros
    FROM journey.conversions
)
SELECT
    month, currency,
    CAST(sum(spend_micros) AS BIGINT) AS spend_micros,
    CAST(sum(allocated_micros) AS BIGINT) AS allocated_micros,
    CAST(sum(conversions) AS BIGINT) AS conversions,
    CAST(sum(new_buyers) AS BIGINT) AS new_buyers,
    CAST(sum(booked_micros) AS BIGINT) AS booked_micros,
    CAST(sum(net_micros) AS BIGINT) AS net_micros
FROM parts
GROUP BY month, currency
