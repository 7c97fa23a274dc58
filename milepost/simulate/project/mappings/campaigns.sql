SELECT
    campaign_code AS campaign,
    title AS name,
    channel,
    NULLIF(promise, '') AS promise,
    CAST(first_day AS DATE) AS starts_on,
    CAST(last_day AS DATE) AS ends_on,
    campaign_code AS native_id,
    CAST(planned_at AS TIMESTAMP) AS received_at
FROM raw
