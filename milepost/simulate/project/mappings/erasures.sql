SELECT
    address AS email,
    CAST(requested_at AS TIMESTAMP) AS erased_at,
    ground AS reason,
    'request:' || request_id AS native_id,
    CAST(recorded_at AS TIMESTAMP) AS received_at
FROM raw
