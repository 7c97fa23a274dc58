SELECT
    'ticket_' || change AS kind,
    CAST(changed_at AS TIMESTAMP) AS occurred_at,
    requester_email AS email,
    requester_phone AS phone,
    requester_user AS "user",
    topic AS reason,
    tag AS content,
    CAST(stars AS INTEGER) * 20 AS score_percent,
    update_id AS native_id,
    CAST(exported_at AS TIMESTAMP) AS received_at
FROM raw
