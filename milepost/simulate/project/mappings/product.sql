SELECT
    event_type AS kind,
    "at" AS occurred_at,
    user_id AS "user",
    install_id AS device,
    push_token,
    email,
    contact_id AS crm_contact,
    account_id AS account,
    feature AS content,
    score AS score_percent,
    event_id AS native_id,
    flushed_at AS received_at
FROM raw
