-- One row a campaign, currency and attribution model: what the campaign promised, cost, reached and is credited with.
-- Look at one model at a time: spend, exposures, touches and customers are the same in each model's row. `(none)`
-- holds what names no campaign.
--
-- grain: campaign_id, currency, model
--
-- campaign_id: The campaign.
-- name: Its name.
-- channel: Its main channel.
-- promise: What it promised.
-- starts_on: Its first day.
-- ends_on: Its last day.
-- currency: The currency of the row's money; NULL where the warehouse has no money at all.
-- model: The attribution model; NULL where there is no conversion.
-- touches: Touches of the campaign, shared identifiers aside (the same in each currency).
-- customers: Customers whom it touched (the same in each currency).
-- converted: Of these: whose first conversion came after the campaign's first touch (the same in each currency).
-- exposures: People reached by what reached nobody in particular (the same in each currency).
-- spend_micros: Money spent on it, in millionths.
-- unallocated_micros: What of it could be shared over no touch.
-- conversions: Conversions credited, in parts of a conversion.
-- booked_micros: Booked money credited, in millionths.
-- net_micros: Booked less refunded money credited, in millionths.
-- cost_per_conversion_micros: Spend for one conversion credited, in millionths; NULL without conversions.
-- return_on_spend: Booked money credited for one unit spent; NULL without spend.
WITH reached AS (
    SELECT
        coalesce(campaign_id, '(none)') AS campaign_id, customer_id,
        count(*) AS touches, min(occurred_at) AS first_touch_at
    FROM shared.counted_touches
    GROUP BY ALL
),
touches AS (
    SELECT
        r.campaign_id, CAST(sum(r.touches) AS BIGINT) AS touches, count(r.customer_id) AS customers,
        count(*) FILTER (j.converted_at >= r.first_touch_at) AS converted
    FROM reached AS r
    LEFT JOIN shared.counted_journeys AS j USING (customer_id)
    GROUP BY r.campaign_id
),
exposures AS (
    SELECT coalesce(campaign_id, '(none)') AS campaign_id, CAST(sum("count") AS BIGINT) AS exposures
    FROM journey.exposures
    GROUP BY ALL
),
spend AS (
    SELECT
        coalesce(campaign_id, '(none)') AS campaign_id, currency,
        CAST(sum(amount_micros) AS BIGINT) AS spend_micros,
        CAST(sum(amount_micros - coalesce(allocated_micros, 0)) AS BIGINT) AS unallocated_micros
    FROM journey.spend
    GROUP BY ALL
),
credits AS (
    SELECT
        coalesce(campaign_id, '(none)') AS campaign_id, currency, model, sum(credit) AS conversions,
        CAST(sum(amount_micros) AS BIGINT) AS booked_micros, CAST(sum(net_micros) AS BIGINT) AS net_micros
    FROM journey.credits
    GROUP BY ALL
),
currencies AS (SELECT currency FROM spend UNION SELECT currency FROM credits),
models AS (SELECT DISTINCT model FROM credits),
campaigns AS (
    SELECT campaign_id FROM touches UNION SELECT campaign_id FROM exposures UNION SELECT campaign_id FROM spend
    UNION SELECT campaign_id FROM credits UNION SELECT campaign_id FROM journey.campaigns
),
grid AS (
    SELECT campaigns.campaign_id, currencies.currency, models.model
    FROM campaigns
    LEFT JOIN currencies ON TRUE
    LEFT JOIN models ON TRUE
)
SELECT
    g.campaign_id, c.name, c.channel, c.promise, c.starts_on, c.ends_on, g.currency, g.model,
    coalesce(t.touches, 0) AS touches, coalesce(t.customers, 0) AS customers,
    coalesce(t.converted, 0) AS converted, coalesce(e.exposures, 0) AS exposures,
    coalesce(s.spend_micros, 0) AS spend_micros, coalesce(s.unallocated_micros, 0) AS unallocated_micros,
    coalesce(k.conversions, 0) AS conversions, coalesce(k.booked_micros, 0) AS booked_micros,
    coalesce(k.net_micros, 0) AS net_micros,
    CAST(round(s.spend_micros / nullif(k.conversions, 0)) AS BIGINT) AS cost_per_conversion_micros,
    coalesce(k.booked_micros, 0) / nullif(s.spend_micros, 0) AS return_on_spend
FROM grid AS g
LEFT JOIN journey.campaigns AS c ON c.campaign_id = g.campaign_id
LEFT JOIN touches AS t ON t.campaign_id = g.campaign_id
LEFT JOIN exposures AS e ON e.campaign_id = g.campaign_id
LEFT JOIN spend AS s ON s.campaign_id = g.campaign_id AND s.currency = g.currency
LEFT JOIN credits AS k ON k.campaign_id = g.campaign_id AND k.currency = g.currency AND k.model = g.model
