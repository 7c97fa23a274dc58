-- campaign_descriptions.parquet → campaign facts.
-- The data do not say what a campaign promised, so `promise` stays empty.
SELECT
    CAST(campaign_id AS VARCHAR) AS campaign,
    'Campaign ' || campaign_id || ' (' || campaign_type || ')' AS name,
    'direct_mail' AS channel,
    CAST(NULL AS VARCHAR) AS promise,
    CAST(start_date AS DATE) AS starts_on,
    CAST(end_date AS DATE) AS ends_on,
    CAST(campaign_id AS VARCHAR) AS native_id
FROM raw
