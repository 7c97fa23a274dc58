SELECT
    address AS email,
    purpose,
    answer = 'yes' AS granted,
    erase_me = 'yes' AS means_erasure,
    CAST(answered_at AS TIMESTAMP) AS decided_at,
    'consent:' || consent_id AS native_id,
    CAST(recorded_at AS TIMESTAMP) AS received_at
FROM raw
