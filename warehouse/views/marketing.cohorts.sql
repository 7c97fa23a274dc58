-- One row a month of first touch and a number of months since: how many of the cohort had converted by then.
-- Who has not converted and is not lost is open, however long it takes. Shared identifiers are left out.
--
-- grain: cohort_month, months_since
--
-- cohort_month: The first day of the month in which the first touch was.
-- months_since: Months after it; 0 is the cohort's own month.
-- customers: Customers of the cohort.
-- converted: Customers who had converted by the end of that month.
-- conversion_rate: Their share of the cohort.
-- complete: That month is over; where it is not, more may follow.
-- open_now: Customers of the cohort who are not decided at the present (the same in each row of the cohort).
-- customers_now: Who are customers at the present.
-- lost_now: Whose last open opportunity was lost.
-- churned_now: Whose every subscription is cancelled.
WITH present AS (SELECT max(as_of) AS as_of FROM journey.clock),
cohorts AS (
    SELECT
        date_trunc('month', first_touch_at) AS cohort_month, count(*) AS customers,
        count(*) FILTER (status = 'open') AS open_now,
        count(*) FILTER (status = 'customer') AS customers_now,
        count(*) FILTER (status = 'lost') AS lost_now,
        count(*) FILTER (status = 'churned') AS churned_now
    FROM shared.counted_journeys
    GROUP BY cohort_month
),
conversions AS (
    SELECT
        date_trunc('month', first_touch_at) AS cohort_month,
        datediff('month', first_touch_at, converted_at) AS months_since,
        count(*) AS converted
    FROM shared.counted_journeys
    WHERE converted_at IS NOT NULL
    GROUP BY ALL
),
grid AS (
    SELECT
        cohorts.*, present.as_of,
        unnest(generate_series(0, datediff('month', cohorts.cohort_month, present.as_of))) AS months_since
    FROM cohorts
    CROSS JOIN present
),
counted AS (
    SELECT
        grid.*,
        CAST(sum(coalesce(c.converted, 0)) OVER (
            PARTITION BY cohort_month ORDER BY months_since
        ) AS BIGINT) AS converted
    FROM grid
    LEFT JOIN conversions AS c USING (cohort_month, months_since)
)
SELECT
    CAST(cohort_month AS DATE) AS cohort_month, months_since, customers, converted,
    converted / customers AS conversion_rate,
    cohort_month + to_months(CAST(months_since + 1 AS INTEGER)) <= as_of AS complete,
    open_now, customers_now, lost_now, churned_now
FROM counted
ORDER BY cohort_month, months_since
