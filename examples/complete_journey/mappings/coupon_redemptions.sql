-- coupon_redemptions.parquet → one touchpoint for each coupon that a household redeemed. They have a day, no hour.
SELECT
    'coupon_redeemed' AS kind,
    redemption_date AS occurred_at,
    CAST(household_id AS VARCHAR) AS "user",
    CAST(campaign_id AS VARCHAR) AS campaign,
    'coupon ' || coupon_upc AS content,
    household_id || ':' || campaign_id || ':' || coupon_upc || ':' || strftime(redemption_date, '%Y-%m-%d') AS native_id
FROM raw
