-- One row a period (week, month or quarter), its start and a currency: what entered the pipeline, what left it, and what
-- stood in it at the end. Look at one kind of period at a time. An opportunity counts in the currency of its expected
-- value. An opportunity that is not closed is open, never lost. Shared identifiers are left out.
--
-- grain: period, period_start, currency
--
-- period: `week` (from Monday), `month` or `quarter`.
-- period_start: Its first day.
-- currency: The currency; NULL for opportunities without any money.
-- is_current: The period that the present is in; it is not over.
-- opened: Opportunities created in the period.
-- won: Opportunities won in the period.
-- lost: Opportunities lost in the period.
-- win_rate: Share of those closed in the period that was won; NULL where none was closed.
-- open_at_end: Opportunities that were open at its end, or are at the present.
-- opened_micros: Expected value of those opened, as said last, in millionths.
-- open_at_end_micros: Expected value of those open at its end, as said last, in millionths.
-- booked_micros: Money booked in the period by conversions that name an opportunity, in millionths.
-- net_micros: The same, less refunds.
WITH present AS (SELECT max(as_of) AS as_of FROM journey.clock),
changes AS (
    SELECT
        created_at AS changed_at, currency, 1 AS opened, 0 AS won, 0 AS lost,
        coalesce(expected_micros, 0) AS opened_micros, 0 AS closed_micros, 0 AS booked_micros, 0 AS net_micros
    FROM shared.counted_opportunities
    UNION ALL
    SELECT
        closed_at, currency, 0, CASE WHEN outcome = 'won' THEN 1 ELSE 0 END,
        CASE WHEN outcome = 'lost' THEN 1 ELSE 0 END, 0, coalesce(expected_micros, 0), 0, 0
    FROM shared.counted_opportunities
    WHERE closed_at IS NOT NULL
    UNION ALL
    SELECT c.occurred_at, c.currency, 0, 0, 0, 0, 0, c.amount_micros, c.net_micros
    FROM journey.conversions AS c
    JOIN shared.counted_opportunities AS o USING (opportunity_id)
    CROSS JOIN present
    WHERE c.occurred_at <= present.as_of
),
kinds AS (SELECT unnest(['week', 'month', 'quarter']) AS period),
starts AS (
    SELECT
        k.period, b.currency, p.as_of,
        unnest(generate_series(
            date_trunc(k.period, b.first_at), p.as_of,
            CASE k.period WHEN 'week' THEN INTERVAL 7 DAY WHEN 'month' THEN INTERVAL 1 MONTH ELSE INTERVAL 3 MONTH END
        )) AS period_start
    FROM kinds AS k
    CROSS JOIN present AS p
    CROSS JOIN (
        SELECT currency, min(min(changed_at)) OVER () AS first_at FROM changes GROUP BY currency
    ) AS b
),
summed AS (
    SELECT
        k.period, date_trunc(k.period, c.changed_at) AS period_start, c.currency,
        sum(c.opened) AS opened, sum(c.won) AS won, sum(c.lost) AS lost, sum(c.opened_micros) AS opened_micros,
        sum(c.closed_micros) AS closed_micros, sum(c.booked_micros) AS booked_micros, sum(c.net_micros) AS net_micros
    FROM changes AS c
    CROSS JOIN kinds AS k
    GROUP BY ALL
),
filled AS (
    SELECT
        s.period, s.period_start, s.currency, s.as_of,
        coalesce(m.opened, 0) AS opened, coalesce(m.won, 0) AS won, coalesce(m.lost, 0) AS lost,
        coalesce(m.opened_micros, 0) AS opened_micros, coalesce(m.closed_micros, 0) AS closed_micros,
        coalesce(m.booked_micros, 0) AS booked_micros, coalesce(m.net_micros, 0) AS net_micros
    FROM starts AS s
    LEFT JOIN summed AS m
        ON m.period = s.period AND m.period_start = s.period_start AND m.currency IS NOT DISTINCT FROM s.currency
)
SELECT
    period, CAST(period_start AS DATE) AS period_start, currency,
    period_start = date_trunc(period, as_of) AS is_current,
    CAST(opened AS BIGINT) AS opened, CAST(won AS BIGINT) AS won, CAST(lost AS BIGINT) AS lost,
    won / nullif(won + lost, 0) AS win_rate,
    CAST(sum(opened - won - lost) OVER so_far AS BIGINT) AS open_at_end,
    CAST(opened_micros AS BIGINT) AS opened_micros,
    CAST(sum(opened_micros - closed_micros) OVER so_far AS BIGINT) AS open_at_end_micros,
    CAST(booked_micros AS BIGINT) AS booked_micros, CAST(net_micros AS BIGINT) AS net_micros
FROM filled
WINDOW so_far AS (PARTITION BY period, currency ORDER BY period_start)
