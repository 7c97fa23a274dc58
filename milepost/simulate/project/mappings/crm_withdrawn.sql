-- An activity that did not happen with this contact is taken back by its number.
SELECT
    activity_id AS target_native_id,
    CAST(withdrawn_at AS TIMESTAMP) AS retracted_at,
    'logged with the wrong contact' AS reason,
    'withdrawn:' || activity_id AS native_id,
    CAST(synced_at AS TIMESTAMP) AS received_at
FROM raw
