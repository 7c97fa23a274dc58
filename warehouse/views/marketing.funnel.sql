-- One row a stage: how many customers have come this far, and how many went on. Shared identifiers are left out.
--
-- grain: stage
--
-- stage: The stage.
-- label: Its name on pages.
-- position: Its place in the order, from 1.
-- reached: Customers whose furthest stage is this one or a later one, skipped stages included.
-- entered: Customers who entered exactly this stage at some time.
-- here_now: Customers whose current stage is this one.
-- open: Of those who reached it: not decided yet.
-- lost: Of those who reached it: lost.
-- churned: Of those who reached it: churned.
-- converted: Of those who reached it: have converted.
-- conversion_rate: Share of those who reached it that have converted.
-- continued: Of those who reached it: reached the next stage; conversion counts as reached by converting, not by negotiating.
-- continuation_rate: Share of those who reached it that continued; NULL for the last stage.
-- median_days_before: Median of days spent in the stage before, of those who entered this one.
-- marketing_touches: Touches of this stage's kinds made by marketing.
-- sales_touches: Touches of this stage's kinds made by sales.
-- service_touches: Touches of this stage's kinds made by service.
-- exposures: Of the first stage: people reached by what reached nobody in particular (radio, print); 0 elsewhere.
WITH groups AS (
    SELECT
        f.position AS furthest, j.current_stage, j.status, j.converted_at IS NOT NULL AS has_converted,
        count(*) AS customers
    FROM shared.counted_journeys AS j
    JOIN shared.stages AS f ON f.stage = j.furthest_stage
    GROUP BY ALL
),
reached AS (
    SELECT
        s.stage, s.label, s.position,
        lead(s.stage) OVER (ORDER BY s.position) AS next_stage,
        CAST(coalesce(sum(g.customers), 0) AS BIGINT) AS reached,
        CAST(coalesce(sum(g.customers) FILTER (g.status = 'open'), 0) AS BIGINT) AS open,
        CAST(coalesce(sum(g.customers) FILTER (g.status = 'lost'), 0) AS BIGINT) AS lost,
        CAST(coalesce(sum(g.customers) FILTER (g.status = 'churned'), 0) AS BIGINT) AS churned,
        CAST(coalesce(sum(g.customers) FILTER (g.has_converted), 0) AS BIGINT) AS converted,
        CAST(coalesce(sum(g.customers) FILTER (g.furthest > s.position), 0) AS BIGINT) AS beyond
    FROM shared.stages AS s
    LEFT JOIN groups AS g ON g.furthest >= s.position
    GROUP BY s.stage, s.label, s.position
),
entered AS (
    SELECT
        stage, count(DISTINCT customer_id) AS entered,
        median(seconds_in_previous) / 86400.0 AS median_days_before
    FROM journey.stage_entries
    GROUP BY stage
),
here AS (SELECT current_stage AS stage, CAST(sum(customers) AS BIGINT) AS here_now FROM groups GROUP BY current_stage),
touches AS (
    SELECT
        stage,
        count(*) FILTER (team = 'marketing') AS marketing_touches,
        count(*) FILTER (team = 'sales') AS sales_touches,
        count(*) FILTER (team = 'service') AS service_touches
    FROM shared.counted_touches
    GROUP BY stage
),
steps AS (
    SELECT
        *,
        CASE WHEN next_stage = 'conversion' THEN converted WHEN next_stage IS NOT NULL THEN beyond END AS continued
    FROM reached
)
SELECT
    r.stage, r.label, r.position, r.reached,
    coalesce(e.entered, 0) AS entered,
    coalesce(h.here_now, 0) AS here_now,
    r.open, r.lost, r.churned, r.converted,
    r.converted / nullif(r.reached, 0) AS conversion_rate,
    r.continued,
    r.continued / nullif(r.reached, 0) AS continuation_rate,
    e.median_days_before,
    coalesce(t.marketing_touches, 0) AS marketing_touches,
    coalesce(t.sales_touches, 0) AS sales_touches,
    coalesce(t.service_touches, 0) AS service_touches,
    CASE WHEN r.position = 1
        THEN (SELECT CAST(coalesce(sum("count"), 0) AS BIGINT) FROM journey.exposures) ELSE 0
    END AS exposures
FROM steps AS r
LEFT JOIN entered AS e USING (stage)
LEFT JOIN here AS h USING (stage)
LEFT JOIN touches AS t USING (stage)
ORDER BY r.position
