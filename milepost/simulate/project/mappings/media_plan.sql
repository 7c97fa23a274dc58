-- Copies, listeners and passers-by: nobody in particular.
SELECT
    NULLIF(campaign, '') AS campaign,
    medium AS channel,
    CAST(day AS DATE) AS day,
    CAST(contacts AS BIGINT) AS count,
    medium || ':' || day AS native_id,
    CAST(reported_at AS TIMESTAMP) AS received_at
FROM raw
