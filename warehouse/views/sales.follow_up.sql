-- One row a month of offer and owner: how soon sales followed up the leads that marketing offered. Shared identifiers are
-- left out.
--
-- grain: offered_month, owner
--
-- offered_month: The first day of the month of the offer.
-- owner: Who answered the offer, else whom it was offered to; `(nobody)` where the source names no one.
-- offered: Offers.
-- accepted: Offers that were accepted.
-- rejected: Offers that were rejected.
-- in_time: Offers followed up within the agreed time.
-- late: Offers followed up later.
-- overdue: Offers nobody has followed up, though the time is over.
-- waiting: Offers nobody has followed up yet, in time so far.
-- not_needed: Offers rejected or recycled before anybody followed up.
-- in_time_rate: Share of those followed up or overdue that was in time.
-- median_hours: Median of hours from the offer to the follow-up, nights and weekends included.
SELECT
    CAST(date_trunc('month', occurred_at) AS DATE) AS offered_month,
    coalesce(answered_by, owner, '(nobody)') AS owner,
    count(*) AS offered,
    count(*) FILTER (answer = 'accepted') AS accepted,
    count(*) FILTER (answer = 'rejected') AS rejected,
    count(*) FILTER (follow_up = 'in_time') AS in_time,
    count(*) FILTER (follow_up = 'late') AS late,
    count(*) FILTER (follow_up = 'overdue') AS overdue,
    count(*) FILTER (follow_up = 'waiting') AS waiting,
    count(*) FILTER (follow_up = 'not_needed') AS not_needed,
    count(*) FILTER (follow_up = 'in_time') / nullif(count(*) FILTER (follow_up IN ('in_time', 'late', 'overdue')), 0)
        AS in_time_rate,
    median(hours_to_follow_up) AS median_hours
FROM shared.handover_ledger
WHERE step = 'offered' AND status = 'applied' AND NOT shared
GROUP BY ALL
