-- The benchmark's job as a DuckDB script: touchpoint facts in, five tables of the schema `journey` out.
--
-- The runner sets the variable `events` (Parquet files) and creates two temporary tables from the vocabulary:
-- `stages` (stage, rank) and `kinds` (kind, stage, level, stage_rank, booked, refunded, links_only, number).
-- `level` is the rank of the kind's stage, NULL without one; `stage_rank` is the same, 99 without one.

-- phase: de-duplicate
-- Writing the tables uncompressed takes a fifth less CPU in all, and 3.6 times the disk.
SET force_compression = 'uncompressed';
-- Nor does the order of rows matter, the fold's aside.
SET preserve_insertion_order = false;

CREATE TEMP TABLE repeated AS
SELECT event_id, min(received_at) AS received_at
FROM read_parquet(getvariable('events'))
GROUP BY event_id
HAVING count(*) > 1;

CREATE TEMP VIEW standing AS
SELECT delivered.*
FROM read_parquet(getvariable('events')) AS delivered
LEFT JOIN repeated USING (event_id)
WHERE repeated.event_id IS NULL OR delivered.received_at = repeated.received_at;

-- phase: connected components
-- An identifier with the digit of its rank in front sorts best first. There are nine namespaces.
CREATE TEMP MACRO ranked(identifier) AS
CASE
    WHEN starts_with(identifier, 'cookie:') THEN '8'
    WHEN starts_with(identifier, 'device:') THEN '7'
    WHEN starts_with(identifier, 'email:') THEN '3'
    WHEN starts_with(identifier, 'user:') THEN '0'
    WHEN starts_with(identifier, 'crm_contact:') THEN '1'
    WHEN starts_with(identifier, 'loyalty_card:') THEN '2'
    WHEN starts_with(identifier, 'phone:') THEN '4'
    WHEN starts_with(identifier, 'social_handle:') THEN '5'
    WHEN starts_with(identifier, 'push_token:') THEN '6'
END || identifier;

-- Duplicates hold the same identifiers, so that they need no removal here.
CREATE TEMP TABLE sets AS
SELECT CASE WHEN len(identifiers) = 1 THEN [ranked(identifiers[1])]
    ELSE list_sort(list_transform(identifiers, lambda identifier: ranked(identifier))) END AS members
FROM read_parquet(getvariable('events'));

-- Numbered best first, so that the smallest number of a component is its best identifier.
CREATE TEMP TABLE nodes AS
SELECT name, row_number() OVER (ORDER BY name)::INTEGER AS node
FROM (SELECT DISTINCT unnest(members) AS name FROM sets);

CREATE TEMP TABLE links AS
WITH pairs AS (
    SELECT DISTINCT members[1] AS owner, unnest(members[2:]) AS other FROM sets WHERE len(members) > 1
), numbered AS (
    SELECT a.node AS a, b.node AS b
    FROM pairs JOIN nodes AS a ON a.name = owner JOIN nodes AS b ON b.name = other
)
SELECT a AS node, b AS neighbour FROM numbered
UNION ALL
SELECT b, a FROM numbered;

CREATE TEMP TABLE components AS
WITH RECURSIVE component(node, label) USING KEY (node) AS (
    SELECT node, least(node, min(neighbour)) FROM links GROUP BY node
    UNION
    SELECT links.node, min(changed.label)
    FROM component AS changed
    JOIN links ON links.neighbour = changed.node
    JOIN recurring.component AS known ON known.node = links.node
    WHERE changed.label < known.label
    GROUP BY links.node
)
SELECT node, label FROM component;

CREATE TEMP TABLE people AS
SELECT nodes.name, nodes.node, coalesce(label, node) AS customer, left(sha256(best.name[2:]), 32) AS customer_id
FROM nodes LEFT JOIN components USING (node) JOIN nodes AS best ON best.node = coalesce(label, nodes.node);

-- phase: touchpoints
CREATE SCHEMA journey;
CREATE TABLE journey.touchpoints AS
SELECT
    event_id,
    customer_id,
    account_id,
    kind,
    stage,
    channel,
    campaign_id,
    team,
    reach,
    occurred_at,
    received_at,
    source,
    'customer' AS subject_type,
    customer_id AS subject_id,
    opportunity_id,
    deal_id,
    booking_number,
    subscription_id,
    conversion_id,
    content,
    owner,
    reason,
    opportunity_stage,
    amount_micros,
    currency,
    products,
    score_percent,
    booked AND amount_micros IS NOT NULL AS books,
    CASE WHEN booked AND amount_micros IS NULL THEN 'no_amount' END AS not_booked_reason,
    false AS shared
FROM standing
JOIN kinds USING (kind)
JOIN people ON name = CASE WHEN len(identifiers) = 1 THEN ranked(identifiers[1])
    ELSE list_min(list_transform(identifiers, lambda identifier: ranked(identifier))) END;

-- phase: fold order
SET preserve_insertion_order = true;

CREATE TEMP TABLE ordered AS
SELECT customer, occurred_at, touchpoints.rowid AS fact, kinds.number AS kind, level, books, links_only,
    NOT books AND NOT links_only AND team IN ('marketing', 'sales') AS counts,
    channel <> 'direct' AS not_direct
FROM journey.touchpoints
JOIN kinds USING (kind)
JOIN (SELECT customer, customer_id FROM people WHERE node = customer) USING (customer_id)
ORDER BY customer, occurred_at, stage_rank, event_id;

-- Running sums over the whole sorted table need no partitions: `conversion` numbers conversions,
-- and an event before conversion number n has n - 1.
CREATE TEMP TABLE places AS
SELECT *,
    row_number() OVER ()::INTEGER AS place,
    (sum(books::INTEGER) OVER (ROWS UNBOUNDED PRECEDING))::INTEGER AS conversion,
    (sum(counts::INTEGER) OVER (ROWS UNBOUNDED PRECEDING))::INTEGER AS touch
FROM ordered;

SET preserve_insertion_order = false;

-- phase: conversions
CREATE TEMP TABLE bookings AS
WITH booked AS (
    SELECT place, conversion, customer, fact, level FROM places WHERE books
), bought AS (
    SELECT customer, place, unnest(products) AS product
    FROM booked JOIN journey.touchpoints ON touchpoints.rowid = fact
), new_products AS (
    SELECT DISTINCT place FROM (SELECT min(place) AS place FROM bought GROUP BY customer, product)
)
SELECT booked.place, conversion, customer, fact,
    CASE
        WHEN row_number() OVER (PARTITION BY customer ORDER BY booked.place) = 1 THEN 3
        WHEN level = 5 OR new_products.place IS NOT NULL THEN 5
        ELSE 4
    END AS level
FROM booked LEFT JOIN new_products ON new_products.place = booked.place;

CREATE TABLE journey.conversions AS
WITH refunds AS (
    SELECT conversion_id, currency, sum(amount_micros)::BIGINT AS amount_micros
    FROM journey.touchpoints JOIN kinds USING (kind)
    WHERE refunded AND conversion_id IS NOT NULL
    GROUP BY ALL
)
SELECT
    touch.event_id AS conversion_id,
    touch.customer_id,
    touch.account_id,
    touch.subject_type,
    touch.subject_id,
    touch.occurred_at,
    touch.kind,
    touch.amount_micros,
    least(touch.amount_micros, coalesce(refunds.amount_micros, 0)) AS refunded_micros,
    touch.amount_micros - least(touch.amount_micros, coalesce(refunds.amount_micros, 0)) AS net_micros,
    touch.currency,
    stages.stage,
    touch.products,
    touch.deal_id,
    touch.booking_number,
    touch.opportunity_id
FROM bookings
JOIN journey.touchpoints AS touch ON touch.rowid = fact
JOIN stages ON stages.rank = bookings.level
LEFT JOIN refunds ON refunds.conversion_id = touch.event_id AND refunds.currency = touch.currency;

-- phase: stages
CREATE TEMP TABLE customers AS
SELECT customer, min(place) FILTER (books) AS converted_place
FROM places
GROUP BY customer;

CREATE TEMP TABLE entries AS
WITH before AS (
    -- Up to the first conversion: a stage is entered where it first comes, unless a further one came earlier.
    SELECT customer,
        min(place) FILTER (level = 0 AND NOT books) AS awareness,
        min(place) FILTER (level = 1 AND NOT books) AS consideration,
        min(place) FILTER (level = 2 AND NOT books) AS intent,
        min(place) FILTER (level = 3 OR books) AS conversion
    FROM places JOIN customers USING (customer)
    WHERE converted_place IS NULL OR place <= converted_place
    GROUP BY customer
), forward AS (
    SELECT customer, awareness AS place, 0 AS level FROM before
    WHERE awareness < least(consideration, intent, conversion) OR coalesce(consideration, intent, conversion) IS NULL
    UNION ALL
    SELECT customer, consideration, 1 FROM before
    WHERE consideration < least(intent, conversion) OR coalesce(intent, conversion) IS NULL
    UNION ALL
    SELECT customer, intent, 2 FROM before WHERE intent < conversion OR conversion IS NULL
    UNION ALL
    SELECT customer, conversion, 3 FROM before
), after AS (
    SELECT customer, place, coalesce(bookings.level, places.level) AS level
    FROM places
    JOIN customers USING (customer)
    LEFT JOIN (SELECT place, level FROM bookings WHERE level > 3) AS bookings USING (place)
    WHERE place > converted_place AND (bookings.level IS NOT NULL OR places.level IN (4, 5) AND NOT books)
), moves AS (
    SELECT customer, place, level
    FROM after
    QUALIFY level IS DISTINCT FROM lag(level) OVER (PARTITION BY customer ORDER BY place)
)
SELECT customer, place, level FROM forward WHERE place IS NOT NULL
UNION ALL
SELECT customer, place, level FROM moves;

CREATE TABLE journey.stage_entries AS
WITH steps AS (
    SELECT customer, fact, level, occurred_at,
        lag(level) OVER w AS from_level,
        lag(occurred_at) OVER w AS from_at
    FROM entries JOIN (SELECT place, fact, occurred_at FROM places) USING (place)
    WINDOW w AS (PARTITION BY customer ORDER BY place)
)
SELECT
    customer_id,
    event_id,
    stages.stage,
    steps.occurred_at AS entered_at,
    from_stages.stage AS from_stage,
    (epoch_us(steps.occurred_at) - epoch_us(from_at)) // 1000000 AS seconds_in_previous
FROM steps
JOIN journey.touchpoints ON touchpoints.rowid = fact
JOIN stages ON stages.rank = level
LEFT JOIN stages AS from_stages ON from_stages.rank = from_level;

-- phase: journeys
CREATE TABLE journey.journeys AS
WITH touched AS (
    SELECT customer,
        min(occurred_at) FILTER (NOT links_only) AS first_touch_at,
        max(occurred_at) FILTER (NOT links_only) AS last_touch_at,
        count(*) FILTER (NOT links_only) AS touches,
        arg_max(kind, place) FILTER (NOT links_only) AS last_kind,
        min(occurred_at) FILTER (books) AS converted_at
    FROM places
    GROUP BY customer
), entered AS (
    SELECT customer,
        min(occurred_at) FILTER (entries.level = 0) AS awareness_at,
        min(occurred_at) FILTER (entries.level = 1) AS consideration_at,
        min(occurred_at) FILTER (entries.level = 2) AS intent_at,
        min(occurred_at) FILTER (entries.level = 3) AS conversion_at,
        min(occurred_at) FILTER (entries.level = 4) AS retain_at,
        min(occurred_at) FILTER (entries.level = 5) AS grow_at,
        arg_max(entries.level, place) AS current_level,
        max(entries.level) AS furthest_level
    FROM entries JOIN (SELECT place, occurred_at FROM places) USING (place)
    GROUP BY customer
), money AS (
    SELECT customer_id,
        count(*) AS conversions,
        count(DISTINCT currency) AS currencies,
        min(currency) AS currency,
        sum(amount_micros)::BIGINT AS booked_micros,
        sum(net_micros)::BIGINT AS net_micros
    FROM journey.conversions
    GROUP BY customer_id
), ending AS (
    -- Of those whose last touch may end it: is an opportunity or subscription still open?
    SELECT customer, bool_or(last_step IN ('opportunity_created', 'opportunity_stage_changed', 'subscription_started', 'subscription_renewed')) AS still_open
    FROM (
        SELECT customer, arg_max(touch.kind, place) AS last_step
        FROM (
            SELECT customer, fact, place, last_kind FROM places JOIN touched USING (customer) JOIN kinds ON number = places.kind
            WHERE last_kind = (SELECT number FROM kinds WHERE kind = 'opportunity_lost') AND kinds.kind IN ('opportunity_created', 'opportunity_stage_changed', 'opportunity_lost', 'opportunity_won')
            OR last_kind = (SELECT number FROM kinds WHERE kind = 'subscription_cancelled') AND kinds.kind IN ('subscription_started', 'subscription_renewed', 'subscription_cancelled')
        ) JOIN journey.touchpoints AS touch ON touch.rowid = fact
        GROUP BY customer, CASE WHEN touch.kind LIKE 'opportunity%' THEN touch.opportunity_id ELSE touch.subscription_id END
    )
    GROUP BY customer
)
SELECT
    customer_id,
    NULL::VARCHAR AS account_id,
    CASE
        WHEN last_kinds.kind = 'opportunity_lost' AND converted_at IS NULL AND NOT still_open THEN 'lost'
        WHEN last_kinds.kind = 'subscription_cancelled' AND NOT still_open THEN 'churned'
        WHEN converted_at IS NULL THEN 'open'
        ELSE 'customer'
    END AS status,
    current_stages.stage AS current_stage,
    furthest_stages.stage AS furthest_stage,
    awareness_at, consideration_at, intent_at, conversion_at, retain_at, grow_at,
    converted_at, first_touch_at, last_touch_at, touches,
    coalesce(conversions, 0) AS conversions,
    CASE WHEN currencies = 1 THEN booked_micros END AS booked_micros,
    CASE WHEN currencies = 1 THEN net_micros END AS net_micros,
    CASE WHEN currencies = 1 THEN currency END AS currency,
    coalesce(currencies, 0) AS currencies,
    false AS shared
FROM touched
JOIN (SELECT customer, customer_id FROM people WHERE node = customer) USING (customer)
LEFT JOIN entered USING (customer)
LEFT JOIN money USING (customer_id)
LEFT JOIN ending USING (customer)
LEFT JOIN kinds AS last_kinds ON last_kinds.number = last_kind
LEFT JOIN stages AS current_stages ON current_stages.rank = current_level
LEFT JOIN stages AS furthest_stages ON furthest_stages.rank = furthest_level;

-- phase: credits
CREATE TEMP TABLE touches AS
SELECT places.fact, places.place, places.touch, bookings.conversion
FROM places JOIN bookings ON bookings.conversion = places.conversion + 1 AND bookings.customer = places.customer
WHERE counts;

CREATE TEMP TABLE paths AS
SELECT touches.conversion,
    count(*) AS length,
    min(touches.touch) AS first_touch,
    max(touches.touch) AS last_touch,
    coalesce(max(touches.touch) FILTER (not_direct), max(touches.touch)) AS last_non_direct
FROM touches JOIN (SELECT place, not_direct FROM places) USING (place)
GROUP BY touches.conversion;

-- What a total gives each place of a path: floors, and a unit more for the largest fractions, ties to the earlier.
CREATE TEMP MACRO linear_share(total, length, i) AS total // length + (i <= total % length)::BIGINT;
-- 40 % first, 40 % last, 20 % over the rest: fractions are compared over the common denominator 5 (length - 2).
CREATE TEMP MACRO key_units(total, length) AS total - 2 * (2 * total // 5) - (length - 2) * (total // (5 * (length - 2)));
CREATE TEMP MACRO position_rank(total, length, i) AS
CASE sign((2 * total % 5) * (length - 2) - total % (5 * (length - 2)))
    WHEN 0 THEN i
    WHEN 1 THEN CASE i WHEN 1 THEN 1 WHEN length THEN 2 ELSE i + 1 END
    ELSE CASE i WHEN 1 THEN length - 1 WHEN length THEN length ELSE i - 1 END
END;
CREATE TEMP MACRO position_share(total, length, i) AS
CASE
    WHEN length <= 2 THEN linear_share(total, length, i)
    ELSE CASE WHEN i IN (1, length) THEN 2 * total // 5 ELSE total // (5 * (length - 2)) END
        + (position_rank(total, length, i) <= key_units(total, length))::BIGINT
END;

-- A credit depends on length and place alone.
CREATE TEMP TABLE shares AS
SELECT length, i,
    (linear_share(1000000000000, length, i) / 1000000000000::DECIMAL(18, 0))::DECIMAL(18, 12) AS linear,
    (position_share(1000000000000, length, i) / 1000000000000::DECIMAL(18, 0))::DECIMAL(18, 12) AS position_based
FROM (SELECT DISTINCT length FROM paths), LATERAL (SELECT unnest(range(1, length + 1)) AS i);

CREATE TABLE journey.credits AS
WITH numbered AS (
    SELECT conversion, conversion_id, amount_micros, net_micros, currency
    FROM journey.conversions JOIN (SELECT event_id AS conversion_id, conversion FROM bookings JOIN journey.touchpoints ON touchpoints.rowid = fact) USING (conversion_id)
), path AS (
    SELECT conversion, length, paths.first_touch, paths.last_touch, last_non_direct,
        booked.conversion_id, booked.amount_micros, booked.net_micros, booked.currency
    FROM paths JOIN bookings USING (conversion) JOIN numbered AS booked USING (conversion)
), touched AS (
    SELECT path.*, touch, facts.event_id, touch - first_touch + 1 AS i, channel, campaign_id, linear, position_based
    FROM touches
    JOIN path USING (conversion)
    JOIN journey.touchpoints AS facts ON facts.rowid = touches.fact
    JOIN shares ON shares.length = path.length AND shares.i = touch - first_touch + 1
), whole AS (
    SELECT conversion_id, unnest(['first_touch', 'last_touch', 'last_non_direct', 'linear', 'position_based']) AS model,
        '(none)' AS event_id, '(none)' AS channel, NULL::VARCHAR AS campaign_id, amount_micros, net_micros, currency
    FROM numbered ANTI JOIN paths USING (conversion)
    UNION ALL
    SELECT conversion_id, 'first_touch', event_id, channel, campaign_id, amount_micros, net_micros, currency
    FROM touched WHERE touch = first_touch
    UNION ALL
    SELECT conversion_id, 'last_touch', event_id, channel, campaign_id, amount_micros, net_micros, currency
    FROM touched WHERE touch = last_touch
    UNION ALL
    SELECT conversion_id, 'last_non_direct', event_id, channel, campaign_id, amount_micros, net_micros, currency
    FROM touched WHERE touch = last_non_direct
)
SELECT conversion_id, model, event_id, channel, campaign_id, 1::DECIMAL(18, 12) AS credit, amount_micros, net_micros, currency
FROM whole
UNION ALL
SELECT conversion_id, 'linear', event_id, channel, campaign_id, linear,
    linear_share(amount_micros, length, i), linear_share(net_micros, length, i), currency
FROM touched
UNION ALL
SELECT conversion_id, 'position_based', event_id, channel, campaign_id, position_based,
    position_share(amount_micros, length, i), position_share(net_micros, length, i), currency
FROM touched;
