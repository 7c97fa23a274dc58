-- The CRM's types of activity are the kinds with blanks and capitals.
SELECT
    lower(replace(type, ' ', '_')) AS kind,
    CAST(activity_date AS TIMESTAMP) AS occurred_at,
    contact_id AS crm_contact,
    email,
    phone,
    NULLIF(account_id, '') AS account,
    NULLIF(opportunity_id, '') AS opportunity,
    NULLIF(stage, '') AS opportunity_stage,
    NULLIF(deal_number, '') AS deal,
    CAST(NULLIF(amount, '') AS DECIMAL(18, 2)) AS amount,
    NULLIF(currency, '') AS currency,
    NULLIF(owner, '') AS owner,
    NULLIF(reason, '') AS reason,
    string_split(NULLIF(products, ''), ';') AS products,
    NULLIF(campaign, '') AS campaign,
    NULLIF(subject, '') AS content,
    activity_id AS native_id,
    CAST(synced_at AS TIMESTAMP) AS received_at
FROM raw
