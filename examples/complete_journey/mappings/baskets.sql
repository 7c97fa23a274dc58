-- transactions.parquet (one row per product of a basket) → one order per basket. It aggregates, so the source says `unit: file`.
-- Prices are floating-point numbers of whole cents: they become DECIMAL before they are added, so that a sum is exact
-- whatever the order of the rows. Lines whose product the table of products does not have add to the amount alone.
SELECT
    'order' AS kind,
    'in_store' AS channel,
    min(raw.transaction_timestamp) AS occurred_at,
    CAST(raw.household_id AS VARCHAR) AS "user",
    sum(CAST(raw.sales_value AS DECIMAL(18, 2))) AS amount,
    'USD' AS currency,
    list_sort(list(DISTINCT products.department) FILTER (WHERE products.department IS NOT NULL)) AS products,
    CAST(raw.basket_id AS VARCHAR) AS native_id
FROM raw
LEFT JOIN products ON products.product_id = raw.product_id
GROUP BY raw.basket_id, raw.household_id
