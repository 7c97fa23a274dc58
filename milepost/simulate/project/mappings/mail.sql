SELECT
    CASE event
        WHEN 'sent' THEN 'email_sent'
        WHEN 'open' THEN 'email_opened'
        WHEN 'click' THEN 'email_clicked'
        WHEN 'letter' THEN 'direct_mail_sent'
        WHEN 'reply card' THEN 'direct_mail_answered'
        WHEN 'flyer' THEN 'campaign_contact'
        ELSE event
    END AS kind,
    CAST("at" AS TIMESTAMP) AS occurred_at,
    recipient AS email,
    click_cookie AS cookie,
    NULLIF(campaign, '') AS campaign,
    NULLIF(link, '') AS content,
    message_event AS native_id,
    CAST(synced_at AS TIMESTAMP) AS received_at
FROM raw
