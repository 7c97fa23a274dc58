-- One row a customer who counts: touched at least once, and not the holder of a shared identifier.
-- Every count of customers, in both teams' views, is a count of these rows.
--
-- grain: customer_id
--
-- customer_id: The customer.
-- account_id: The account that the customer belongs to; NULL for a consumer.
-- status: `open` (not decided yet), `customer`, `lost` or `churned`.
-- current_stage: The stage now.
-- furthest_stage: The furthest stage reached.
-- converted_at: The time of the first conversion; NULL while there is none.
-- intent_at: When intent was first entered.
-- first_touch_at: The first touch.
-- last_touch_at: The last touch.
-- touches: How many touches.
-- conversions: How many conversions.
SELECT
    customer_id, account_id, status, current_stage, furthest_stage, converted_at, intent_at,
    first_touch_at, last_touch_at, touches, conversions
FROM journey.journeys
WHERE touches > 0 AND NOT coalesce(shared, FALSE)
