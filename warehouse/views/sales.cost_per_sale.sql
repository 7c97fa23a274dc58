-- One row a month and currency: what was spent in the month, what was sold in it, and the one for the other. Spend of a
-- month also works for later sales, and sales of a month had earlier spend: read it over several months.
--
-- grain: month, currency
--
-- month: The first day of the month.
-- currency: The currency.
-- spend_micros: Money spent, in millionths.
-- conversions: Conversions.
-- new_buyers: First conversions of an account, or of a customer without one.
-- booked_micros: Booked money, in millionths.
-- net_micros: Booked less refunded, in millionths.
-- cost_per_conversion_micros: Spend for one conversion, in millionths; NULL without conversions.
-- cost_per_new_buyer_micros: Spend for one new buyer, in millionths; NULL without new buyers.
SELECT
    month, currency, spend_micros, conversions, new_buyers, booked_micros, net_micros,
    CAST(round(spend_micros / nullif(conversions, 0)) AS BIGINT) AS cost_per_conversion_micros,
    CAST(round(spend_micros / nullif(new_buyers, 0)) AS BIGINT) AS cost_per_new_buyer_micros
FROM shared.totals_by_month
