-- One row a path of channels and currency: by which ways customers came to a conversion. A channel that repeats directly
-- stands once. The touches are those that the model with the most touches credits.
--
-- grain: path, currency
--
-- path: The channels in order, with ` > ` between them; `(none)` where no touch came before.
-- currency: The currency of the conversions.
-- steps: How many channels the path has.
-- conversions: Conversions that came this way.
-- touches: Touches on these ways.
-- booked_micros: Booked money of these conversions, in millionths.
-- net_micros: Booked less refunded, in millionths.
-- median_days: Median of days from the first touch of the way to the conversion.
WITH fullest AS (
    SELECT model FROM journey.credits GROUP BY model ORDER BY count(*) DESC, model LIMIT 1
),
touches AS (
    SELECT
        c.conversion_id, c.channel, t.occurred_at,
        row_number() OVER way AS place,
        lag(c.channel) OVER way AS channel_before
    FROM journey.credits AS c
    JOIN fullest USING (model)
    LEFT JOIN journey.touchpoints AS t ON t.event_id = c.event_id
    LEFT JOIN shared.stages AS s ON s.stage = t.stage
    WINDOW way AS (
        PARTITION BY c.conversion_id ORDER BY t.occurred_at, s.position NULLS LAST, c.event_id
    )
),
ways AS (
    SELECT
        conversion_id,
        string_agg(channel, ' > ' ORDER BY place) FILTER (channel IS DISTINCT FROM channel_before) AS path,
        count(*) FILTER (channel IS DISTINCT FROM channel_before AND occurred_at IS NOT NULL) AS steps,
        count(occurred_at) AS touches,
        min(occurred_at) AS first_touch_at
    FROM touches
    GROUP BY conversion_id
)
SELECT
    w.path, c.currency, min(w.steps) AS steps, count(*) AS conversions, CAST(sum(w.touches) AS BIGINT) AS touches,
    CAST(sum(c.amount_micros) AS BIGINT) AS booked_micros, CAST(sum(c.net_micros) AS BIGINT) AS net_micros,
    median(epoch(c.occurred_at - w.first_touch_at)) / 86400.0 AS median_days
FROM ways AS w
JOIN journey.conversions AS c USING (conversion_id)
GROUP BY w.path, c.currency
