-- A contact's record is evidence that its number, address and telephone are one person's.
SELECT
    'identify' AS kind,
    CAST(created_at AS TIMESTAMP) AS occurred_at,
    contact_id AS crm_contact,
    email,
    phone,
    NULLIF(account_id, '') AS account,
    'contact:' || contact_id AS native_id,
    CAST(synced_at AS TIMESTAMP) AS received_at
FROM raw
