-- Rows of the shop's export → touchpoints. The rows of a file are the table `raw`; every CSV column in it is text.
-- Whatever a row cannot give is NULL. A row that yields no valid touchpoint becomes a dead letter with a reason,
-- and the others go on: see `milepost dead-letters list`.
SELECT
    -- What happened, in the words of the vocabulary (docs/reference/vocabulary.md). The kind brings its stage,
    -- channel, team and reach with it; columns of these names would override them.
    CASE what
        WHEN 'ad' THEN 'ad_click_social'
        WHEN 'visit' THEN 'site_visit'
        WHEN 'prices' THEN 'pricing_page_visit'
        WHEN 'account' THEN 'sign_up'
        WHEN 'order' THEN 'order'
        WHEN 'refund' THEN 'refund'
        WHEN 'help' THEN 'ticket_opened'
        ELSE what -- an unknown word is rejected aloud, not guessed at
    END AS kind,

    -- When it happened. A time without a zone is UTC, unless the source sets `zone`. One that is no time fails its row.
    CAST(happened AS TIMESTAMP) AS occurred_at,

    -- Who: a column for each namespace of identifiers. A row with both a cookie and an e-mail address links them, so
    -- that the anonymous visits before belong to the same customer. Addresses are hashed before they are stored.
    visitor AS cookie,
    email AS email,

    -- Money, for kinds that carry it. It becomes whole millionths: no rounding anywhere.
    CAST(nullif(value, '') AS DECIMAL(18, 2)) AS amount,
    CASE WHEN value <> '' THEN 'EUR' END AS currency,

    -- What was bought. A later order of something new counts as growth, of the same as loyalty.
    CASE WHEN product <> '' THEN [product] END AS products,

    -- Which deal a refund takes back.
    nullif(order_number, '') AS deal,

    campaign AS campaign,

    -- The row's own id in the shop: the same row in tomorrow's export is then a duplicate, not a second event.
    id AS native_id
FROM raw
