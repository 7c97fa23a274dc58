-- A match was wrong: the link between the two is taken back.
SELECT
    'crm_contact:' || contact_id AS link_a,
    'user:' || user_id AS link_b,
    CAST(corrected_at AS TIMESTAMP) AS retracted_at,
    note AS reason,
    'correction:' || match_id AS native_id,
    CAST(synced_at AS TIMESTAMP) AS received_at
FROM raw
