-- campaigns.parquet → one touchpoint for each campaign that a household received.
-- A contact has no date of its own: it is dated by its campaign's start.
SELECT
    'campaign_contact' AS kind,
    descriptions.start_date AS occurred_at,
    CAST(raw.household_id AS VARCHAR) AS "user",
    CAST(raw.campaign_id AS VARCHAR) AS campaign,
    raw.campaign_id || ':' || raw.household_id AS native_id
FROM raw
LEFT JOIN campaign_descriptions AS descriptions ON descriptions.campaign_id = raw.campaign_id
