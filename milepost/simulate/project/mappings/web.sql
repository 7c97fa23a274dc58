-- The tracker knows events and pages; what they mean to a journey stands here.
SELECT
    CASE
        WHEN event = 'code_entered' THEN referrer || '_answered'
        WHEN event = 'form_sent' AND page = '/contact' THEN 'enquiry'
        WHEN event = 'form_sent' THEN 'sign_up'
        WHEN event = 'download' THEN 'content_downloaded'
        WHEN referrer = 'organic' THEN 'search_visit'
        WHEN page = '/pricing' THEN 'pricing_page_visit'
        WHEN starts_with(page, '/reviews/') THEN 'review_read'
        ELSE 'site_visit'
    END AS kind,
    CAST(ts AS TIMESTAMP) AS occurred_at,
    cookie,
    app_install AS device,
    user_id AS "user",
    form_email AS email,
    utm_campaign AS campaign,
    coalesce(message, page) AS content,
    id AS native_id,
    CAST(stored_at AS TIMESTAMP) AS received_at
FROM raw
