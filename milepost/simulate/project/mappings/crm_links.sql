-- Somebody found that a contact and a user are one person.
SELECT
    contact_id AS crm_contact,
    user_id AS "user",
    CAST(matched_at AS TIMESTAMP) AS seen_at,
    checked = 'yes' AS confirmed,
    'match:' || match_id AS native_id,
    CAST(synced_at AS TIMESTAMP) AS received_at
FROM raw
