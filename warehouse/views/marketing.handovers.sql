-- One row a month and currency: the leads that marketing offered to sales, and what became of them. An offer is counted
-- once, in the currency of its expected value, else of its cost, else of what it brought; its money stands in its own
-- currency. Shared identifiers are left out.
--
-- grain: offered_month, currency
--
-- offered_month: The first day of the month of the offer.
-- currency: The currency; NULL for offers without any money.
-- offered: Offers.
-- accepted: Offers that sales accepted.
-- rejected: Offers that sales rejected.
-- recycled: Offers that went back to marketing unanswered.
-- unanswered: Offers that are still open.
-- acceptance_rate: Share of the answered offers that was accepted.
-- top_rejection_reason: The reason that sales gave most for rejecting.
-- followed_up_in_time: Offers that sales followed up within the agreed time.
-- followed_up_late: Offers that sales followed up later.
-- overdue: Offers nobody has followed up, though the time is over.
-- won: Offers whose lead was won so far.
-- lost: Offers whose lead was lost.
-- cost_micros: What was spent to bring these leads to the offer, in millionths.
-- expected_micros: Their expected value at the offer, in millionths.
-- booked_micros: What they brought before the next offer of the same lead, in millionths.
-- net_micros: The same, less refunds.
WITH offers AS (
    SELECT
        *, CAST(date_trunc('month', occurred_at) AS DATE) AS offered_month,
        coalesce(expected_currency, cost_currency, booked_currency) AS currency
    FROM shared.handover_ledger
    WHERE step = 'offered' AND status = 'applied' AND NOT shared
),
counts AS (
    SELECT
        offered_month, currency, count(*) AS offered,
        count(*) FILTER (answer = 'accepted') AS accepted,
        count(*) FILTER (answer = 'rejected') AS rejected,
        count(*) FILTER (answer = 'recycled') AS recycled,
        count(*) FILTER (answer IS NULL) AS unanswered,
        mode(answer_reason ORDER BY answer_reason) FILTER (answer = 'rejected') AS top_rejection_reason,
        count(*) FILTER (follow_up = 'in_time') AS followed_up_in_time,
        count(*) FILTER (follow_up = 'late') AS followed_up_late,
        count(*) FILTER (follow_up = 'overdue') AS overdue,
        count(*) FILTER (outcome = 'won') AS won,
        count(*) FILTER (outcome = 'lost') AS lost
    FROM offers
    GROUP BY offered_month, currency
),
amounts AS (
    SELECT offered_month, expected_currency AS currency, 0 AS cost, expected_micros AS expected, 0 AS booked, 0 AS net
    FROM offers
    WHERE expected_micros IS NOT NULL
    UNION ALL
    SELECT o.offered_month, m.currency, m.amount_micros, 0, 0, 0
    FROM offers AS o
    JOIN journey.money AS m ON m.subject_type = 'handover' AND m.measure = 'cost' AND m.subject_id = o.handover_id
    UNION ALL
    SELECT o.offered_month, b.currency, 0, 0, b.booked_micros, b.net_micros
    FROM offers AS o
    JOIN shared.offer_bookings AS b USING (handover_id)
),
money AS (
    SELECT
        offered_month, currency, CAST(sum(cost) AS BIGINT) AS cost_micros,
        CAST(sum(expected) AS BIGINT) AS expected_micros, CAST(sum(booked) AS BIGINT) AS booked_micros,
        CAST(sum(net) AS BIGINT) AS net_micros
    FROM amounts
    GROUP BY offered_month, currency
)
SELECT
    coalesce(c.offered_month, m.offered_month) AS offered_month, coalesce(c.currency, m.currency) AS currency,
    coalesce(c.offered, 0) AS offered, coalesce(c.accepted, 0) AS accepted, coalesce(c.rejected, 0) AS rejected,
    coalesce(c.recycled, 0) AS recycled, coalesce(c.unanswered, 0) AS unanswered,
    c.accepted / nullif(c.offered - c.unanswered, 0) AS acceptance_rate,
    c.top_rejection_reason,
    coalesce(c.followed_up_in_time, 0) AS followed_up_in_time, coalesce(c.followed_up_late, 0) AS followed_up_late,
    coalesce(c.overdue, 0) AS overdue, coalesce(c.won, 0) AS won, coalesce(c.lost, 0) AS lost,
    coalesce(m.cost_micros, 0) AS cost_micros, coalesce(m.expected_micros, 0) AS expected_micros,
    coalesce(m.booked_micros, 0) AS booked_micros, coalesce(m.net_micros, 0) AS net_micros
FROM counts AS c
FULL JOIN money AS m ON m.offered_month = c.offered_month AND m.currency IS NOT DISTINCT FROM c.currency
