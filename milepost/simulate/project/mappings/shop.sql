-- A refund names the order that it pays back; an invoice's payment is the same deal as its order.
SELECT
    type AS kind,
    CASE WHEN outlet = 'shop' AND type = 'order' THEN 'in_store' END AS channel,
    "time" AS occurred_at,
    customer AS "user",
    email,
    browser AS cookie,
    loyalty_card,
    CASE WHEN type <> 'refund' THEN order_number END AS deal,
    CASE WHEN type = 'refund' THEN order_number END AS conversion_native_id,
    CAST(total AS DECIMAL(18, 2)) AS amount,
    currency,
    items AS products,
    code AS content,
    reason,
    stars_percent AS score_percent,
    record AS native_id,
    loaded_at AS received_at
FROM raw
