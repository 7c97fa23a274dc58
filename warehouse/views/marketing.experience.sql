-- One row a campaign and channel of first touch: what brought these customers in and promised, and how they fare inside.
-- Customers who have converted, by their first touch; touches from the first conversion on. Shared identifiers are left out.
--
-- grain: campaign_id, channel
--
-- campaign_id: The campaign of the first touch; `(none)` where it names none.
-- campaign_name: Its name.
-- promise: What it promised.
-- channel: The channel of the first touch.
-- customers: Customers whom it brought in and who have converted.
-- ratings: Their ratings and satisfaction scores since.
-- mean_score_percent: Mean of these, 0 to 100; NULL without ratings.
-- tickets: Support tickets that they opened.
-- tickets_per_customer: Tickets for one customer.
-- refunds: Refunds that they had.
-- usage_touches: How often they used the product.
-- repeat_customers: Customers with more than one conversion.
-- repeat_rate: Their share.
-- churned: Customers who have left.
-- churn_rate: Their share.
WITH customers AS (
    SELECT
        j.customer_id, j.converted_at, j.status, j.conversions,
        arg_min(coalesce(t.campaign_id, '(none)'), (t.occurred_at, coalesce(s.position, 99), t.event_id)) AS campaign_id,
        arg_min(t.channel, (t.occurred_at, coalesce(s.position, 99), t.event_id)) AS channel
    FROM shared.counted_journeys AS j
    JOIN shared.counted_touches AS t USING (customer_id)
    LEFT JOIN shared.stages AS s ON s.stage = t.stage
    WHERE j.converted_at IS NOT NULL
    GROUP BY ALL
),
inside AS (
    SELECT
        c.customer_id, count(t.score_percent) AS ratings, sum(t.score_percent) AS score_sum,
        count(*) FILTER (t.kind = 'ticket_opened') AS tickets,
        count(*) FILTER (k.amount = 'refunded') AS refunds,
        count(*) FILTER (t.kind = 'product_usage') AS usage_touches
    FROM customers AS c
    JOIN shared.counted_touches AS t ON t.customer_id = c.customer_id AND t.occurred_at >= c.converted_at
    LEFT JOIN shared.kinds AS k ON k.kind = t.kind
    GROUP BY c.customer_id
)
SELECT
    c.campaign_id, p.name AS campaign_name, p.promise, c.channel, count(*) AS customers,
    CAST(coalesce(sum(i.ratings), 0) AS BIGINT) AS ratings,
    sum(i.score_sum) / nullif(sum(i.ratings), 0) AS mean_score_percent,
    CAST(coalesce(sum(i.tickets), 0) AS BIGINT) AS tickets,
    coalesce(sum(i.tickets), 0) / count(*) AS tickets_per_customer,
    CAST(coalesce(sum(i.refunds), 0) AS BIGINT) AS refunds,
    CAST(coalesce(sum(i.usage_touches), 0) AS BIGINT) AS usage_touches,
    count(*) FILTER (c.conversions > 1) AS repeat_customers,
    count(*) FILTER (c.conversions > 1) / count(*) AS repeat_rate,
    count(*) FILTER (c.status = 'churned') AS churned,
    count(*) FILTER (c.status = 'churned') / count(*) AS churn_rate
FROM customers AS c
LEFT JOIN inside AS i USING (customer_id)
LEFT JOIN journey.campaigns AS p ON p.campaign_id = c.campaign_id
GROUP BY c.campaign_id, p.name, p.promise, c.channel
