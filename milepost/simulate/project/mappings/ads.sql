-- One row per impression, click or engagement.
SELECT
    CASE
        WHEN network = 'search' THEN 'search_ad_click'
        WHEN action = 'engagement' THEN 'social_engagement'
        ELSE 'ad_' || action || '_' || network
    END AS kind,
    CAST("time" AS TIMESTAMP) AS occurred_at,
    cookie,
    handle AS social_handle,
    NULLIF(campaign, '') AS campaign,
    NULLIF(detail, '') AS content,
    ad_event_id AS native_id,
    CAST(exported_at AS TIMESTAMP) AS received_at
FROM raw
