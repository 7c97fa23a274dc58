-- One row a month of first conversion and type of buyer: how long it took those who bought for the first time. Accounts
-- count as one buyer; customers without an account count by themselves. Journeys that are still open are not in it, so
-- recent beginners with long cycles are yet to come. Shared identifiers are left out.
--
-- grain: converted_month, buyer_type
--
-- converted_month: The first day of the month of the first conversion.
-- buyer_type: `account` or `customer`.
-- buyers: Buyers who bought for the first time.
-- median_days_from_first_touch: Median of days from their first touch to the first conversion.
-- p90_days_from_first_touch: Nine of ten took at most so many days.
-- median_days_from_intent: Median of days from entering intent to the first conversion; those without intent aside.
-- opportunities_won: Opportunities won in the month, first or later ones.
-- median_days_from_opportunity: Median of days from creating these opportunities to winning them.
WITH buyers AS (
    SELECT 'account' AS buyer_type, first_touch_at, intent_at, converted_at
    FROM journey.accounts
    WHERE converted_at IS NOT NULL
    UNION ALL
    SELECT 'customer', first_touch_at, intent_at, converted_at
    FROM shared.counted_journeys
    WHERE converted_at IS NOT NULL AND account_id IS NULL
),
firsts AS (
    SELECT
        date_trunc('month', converted_at) AS converted_month, buyer_type, count(*) AS buyers,
        median(epoch(converted_at - first_touch_at)) / 86400.0 AS median_days_from_first_touch,
        quantile_cont(epoch(converted_at - first_touch_at), 0.9) / 86400.0 AS p90_days_from_first_touch,
        median(epoch(converted_at - intent_at)) FILTER (intent_at <= converted_at) / 86400.0 AS median_days_from_intent
    FROM buyers
    GROUP BY ALL
),
deals AS (
    SELECT
        date_trunc('month', closed_at) AS converted_month,
        CASE WHEN account_id IS NULL THEN 'customer' ELSE 'account' END AS buyer_type,
        count(*) AS opportunities_won,
        median(epoch(closed_at - created_at)) / 86400.0 AS median_days_from_opportunity
    FROM shared.counted_opportunities
    WHERE outcome = 'won'
    GROUP BY ALL
)
SELECT
    CAST(converted_month AS DATE) AS converted_month, buyer_type, coalesce(f.buyers, 0) AS buyers,
    f.median_days_from_first_touch, f.p90_days_from_first_touch, f.median_days_from_intent,
    coalesce(d.opportunities_won, 0) AS opportunities_won, d.median_days_from_opportunity
FROM firsts AS f
FULL JOIN deals AS d USING (converted_month, buyer_type)
