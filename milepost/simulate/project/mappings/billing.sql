SELECT
    entry_type AS kind,
    CAST(booked_at AS TIMESTAMP) AS occurred_at,
    user_id AS "user",
    email,
    contact_id AS crm_contact,
    NULLIF(account_id, '') AS account,
    NULLIF(subscription_number, '') AS subscription,
    NULLIF(deal_number, '') AS deal,
    CAST(instalment AS INTEGER) AS booking_number,
    NULLIF(opportunity_id, '') AS opportunity,
    CAST(NULLIF(amount, '') AS DECIMAL(18, 2)) AS amount,
    NULLIF(currency, '') AS currency,
    string_split(NULLIF(plan, ''), ';') AS products,
    NULLIF(reason, '') AS reason,
    entry_id AS native_id,
    CAST(exported_at AS TIMESTAMP) AS received_at
FROM raw
