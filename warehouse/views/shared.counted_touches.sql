-- One row a touch that counts: those that only link identifiers and those of shared identifiers are left out.
--
-- grain: event_id
--
-- event_id: The touch.
-- customer_id: The customer; NULL where only an account is known.
-- account_id: The account.
-- kind: What happened.
-- stage: The stage of the kind; NULL where it has none.
-- channel: Where.
-- campaign_id: The campaign that made it.
-- team: Who made it.
-- reach: To how many.
-- occurred_at: When.
-- content: What was seen, visited, said or asked.
-- score_percent: A rating, 0 to 100.
SELECT
    t.event_id, t.customer_id, t.account_id, t.kind, t.stage, t.channel, t.campaign_id, t.team, t.reach,
    t.occurred_at, t.content, t.score_percent
FROM journey.touchpoints AS t
LEFT JOIN shared.kinds AS k ON k.kind = t.kind
WHERE NOT coalesce(t.shared, FALSE) AND NOT coalesce(k.links_only, FALSE)
