SELECT
    event_type || '_' || status AS kind,
    CAST("time" AS TIMESTAMP) AS occurred_at,
    email,
    phone,
    NULLIF(event, '') AS campaign,
    entry AS native_id,
    CAST(list_received AS TIMESTAMP) AS received_at
FROM raw
