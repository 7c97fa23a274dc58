-- Events of the web site, as Segment's libraries send them → touchpoints. Every top-level key of an event is a column of
-- `raw`, as text; what is nested stays JSON: `properties ->> '$.price'` takes a value out of it.
SELECT
    -- Pages and tracked events in the words of the vocabulary. Events of other names are left out: they have no kind.
    CASE
        WHEN type = 'identify' THEN 'identify'
        WHEN type IN ('page', 'screen') AND context ->> '$.page.path' LIKE '%pricing%' THEN 'pricing_page_visit'
        WHEN type IN ('page', 'screen') THEN 'site_visit'
        WHEN event = 'Signed Up' THEN 'sign_up'
        WHEN event = 'Demo Booked' THEN 'demo_booked'
        WHEN event = 'Order Completed' THEN 'order'
    END AS kind,

    -- When it happened: the sender's clock, corrected by when it sent and when it arrived here; and what the sender said.
    CAST("timestamp" AS TIMESTAMPTZ) AS occurred_at,
    CAST("originalTimestamp" AS TIMESTAMPTZ) AS device_occurred_at,

    -- Who: the browser's id, and whom the site knows. One event with both joins what came before and after.
    anonymousId AS cookie,
    userId AS user,
    coalesce(traits ->> '$.email', context ->> '$.traits.email') AS email,

    CAST(properties ->> '$.total' AS DECIMAL(18, 2)) AS amount,
    properties ->> '$.currency' AS currency,
    properties ->> '$.order_id' AS deal,
    context ->> '$.campaign.name' AS campaign,

    messageId AS native_id
FROM raw
