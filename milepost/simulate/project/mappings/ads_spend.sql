-- Cost of a campaign on a day. A restated row has the same campaign and day and a later `updated_at`.
SELECT
    NULLIF(campaign, '') AS campaign,
    channel,
    CAST(day AS DATE) AS day,
    CAST(cost AS DECIMAL(18, 2)) AS amount,
    currency,
    channel || ':' || coalesce(campaign, '') || ':' || day AS native_id,
    CAST(epoch(CAST(updated_at AS TIMESTAMP)) AS BIGINT) AS revision,
    CAST(exported_at AS TIMESTAMP) AS received_at
FROM raw
