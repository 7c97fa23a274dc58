-- One row a month of first conversion and currency: what the customers won in that month have brought so far. Observed
-- money only, nothing is forecast: younger cohorts have had less time. Shared identifiers are left out.
--
-- grain: converted_month, currency
--
-- converted_month: The first day of the month of the first conversion.
-- currency: The currency; a customer with money in two currencies is in both rows.
-- months_observed: Whole months from the cohort's month to the present.
-- customers: Customers of the cohort with money in the currency.
-- churned: Of these: have left.
-- churn_rate: Their share.
-- repeat_customers: Of these: with more than one conversion.
-- booked_micros: Booked money so far, in millionths.
-- net_micros: Booked less refunded, in millionths.
-- net_per_customer_micros: Net money for one customer, in millionths: the lifetime value observed.
-- cost_micros: Spend shared over these customers' touches, in the currency, in millionths.
-- cost_per_customer_micros: The same for one customer.
WITH present AS (SELECT max(as_of) AS as_of FROM journey.clock),
money AS (
    SELECT
        subject_id AS customer_id, currency,
        sum(amount_micros) FILTER (measure = 'booked') AS booked_micros,
        sum(amount_micros) FILTER (measure = 'net') AS net_micros
    FROM journey.money
    WHERE subject_type = 'customer'
    GROUP BY ALL
),
costs AS (
    SELECT t.customer_id, s.currency, sum(s.amount_micros) AS cost_micros
    FROM journey.spend_shares AS s
    JOIN shared.counted_touches AS t ON t.event_id = s.touch_id
    GROUP BY ALL
)
SELECT
    CAST(date_trunc('month', j.converted_at) AS DATE) AS converted_month, m.currency,
    datediff('month', date_trunc('month', j.converted_at), max(present.as_of)) AS months_observed,
    count(*) AS customers,
    count(*) FILTER (j.status = 'churned') AS churned,
    count(*) FILTER (j.status = 'churned') / count(*) AS churn_rate,
    count(*) FILTER (j.conversions > 1) AS repeat_customers,
    CAST(sum(m.booked_micros) AS BIGINT) AS booked_micros,
    CAST(sum(m.net_micros) AS BIGINT) AS net_micros,
    CAST(round(sum(m.net_micros) / count(*)) AS BIGINT) AS net_per_customer_micros,
    CAST(coalesce(sum(c.cost_micros), 0) AS BIGINT) AS cost_micros,
    CAST(round(coalesce(sum(c.cost_micros), 0) / count(*)) AS BIGINT) AS cost_per_customer_micros
FROM shared.counted_journeys AS j
JOIN money AS m USING (customer_id)
CROSS JOIN present
LEFT JOIN costs AS c ON c.customer_id = j.customer_id AND c.currency = m.currency
WHERE j.converted_at IS NOT NULL
GROUP BY date_trunc('month', j.converted_at), m.currency
