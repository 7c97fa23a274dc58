-- Role of each contact, and who of a company is a key contact.
SELECT
    contact_id AS crm_contact,
    pair.attribute AS attribute,
    pair.value AS value,
    created_at AS valid_from,
    'contact:' || contact_id || ':' || pair.attribute AS native_id,
    received_at
FROM (
    SELECT
        contact_id,
        CAST(created_at AS TIMESTAMP) AS created_at,
        CAST(synced_at AS TIMESTAMP) AS received_at,
        unnest([
            {'attribute': 'role', 'value': role},
            {'attribute': 'key_contact', 'value': key_contact}
        ]) AS pair
    FROM raw
) AS listed
WHERE NULLIF(pair.value, '') IS NOT NULL
