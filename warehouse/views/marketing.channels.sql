-- One row a channel, currency and attribution model: what the channel cost, whom it reached and what it is credited with.
-- Look at one model at a time: spend, exposures and touches are the same in each model's row. A channel `(none)` holds
-- conversions without a touch.
--
-- grain: channel, currency, model
--
-- channel: The channel.
-- label: Its name on pages.
-- currency: The currency of the row's money; NULL where the warehouse has no money at all.
-- model: The attribution model; NULL where there is no conversion.
-- touches: Touches in the channel, shared identifiers aside (the same in each currency).
-- exposures: People reached by what reached nobody in particular (the same in each currency).
-- spend_micros: Money spent in the channel, in millionths.
-- allocated_micros: What of it was shared over touches.
-- conversions: Conversions credited, in parts of a conversion.
-- booked_micros: Booked money credited, in millionths.
-- net_micros: Booked less refunded money credited, in millionths; NULL for models over all paths.
-- cost_per_conversion_micros: Spend for one conversion credited, in millionths; NULL without conversions.
-- return_on_spend: Booked money credited for one unit spent; NULL without spend.
WITH touches AS (SELECT channel, count(*) AS touches FROM shared.counted_touches GROUP BY channel),
exposures AS (SELECT channel, CAST(sum("count") AS BIGINT) AS exposures FROM journey.exposures GROUP BY channel),
spend AS (
    SELECT
        channel, currency, CAST(sum(amount_micros) AS BIGINT) AS spend_micros,
        CAST(sum(coalesce(allocated_micros, 0)) AS BIGINT) AS allocated_micros
    FROM journey.spend
    GROUP BY channel, currency
),
credits AS (
    SELECT
        channel, currency, model, sum(credit) AS conversions, CAST(sum(amount_micros) AS BIGINT) AS booked_micros,
        CAST(sum(net_micros) AS BIGINT) AS net_micros
    FROM journey.credits
    GROUP BY channel, currency, model
    UNION ALL
    SELECT channel, currency, model, credit, amount_micros, NULL FROM journey.channel_credits
),
currencies AS (SELECT currency FROM spend UNION SELECT currency FROM credits),
models AS (SELECT DISTINCT model FROM credits),
channels AS (
    SELECT channel FROM touches UNION SELECT channel FROM exposures
    UNION SELECT channel FROM spend UNION SELECT channel FROM credits
),
grid AS (
    SELECT channels.channel, currencies.currency, models.model
    FROM channels
    LEFT JOIN currencies ON TRUE
    LEFT JOIN models ON TRUE
)
SELECT
    g.channel, coalesce(c.label, g.channel) AS label, g.currency, g.model,
    coalesce(t.touches, 0) AS touches, coalesce(e.exposures, 0) AS exposures,
    coalesce(s.spend_micros, 0) AS spend_micros, coalesce(s.allocated_micros, 0) AS allocated_micros,
    coalesce(k.conversions, 0) AS conversions, coalesce(k.booked_micros, 0) AS booked_micros,
    CASE WHEN k.channel IS NULL THEN 0 ELSE k.net_micros END AS net_micros,
    CAST(round(s.spend_micros / nullif(k.conversions, 0)) AS BIGINT) AS cost_per_conversion_micros,
    coalesce(k.booked_micros, 0) / nullif(s.spend_micros, 0) AS return_on_spend
FROM grid AS g
LEFT JOIN shared.channels AS c ON c.channel = g.channel
LEFT JOIN touches AS t ON t.channel = g.channel
LEFT JOIN exposures AS e ON e.channel = g.channel
LEFT JOIN spend AS s ON s.channel = g.channel AND s.currency = g.currency
LEFT JOIN credits AS k ON k.channel = g.channel AND k.currency = g.currency AND k.model = g.model
