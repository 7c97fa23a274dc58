-- One row an attribute of a customer or account: the value that counts now.
--
-- grain: subject_type, subject_id, attribute
--
-- subject_type: `customer` or `account`.
-- subject_id: The customer_id or account_id.
-- attribute: Which attribute, such as `name`, `role` or `segment`.
-- value: Its value now; NULL where it was taken back.
-- valid_from: Since when.
SELECT p.subject_type, p.subject_id, p.attribute, p.value, p.valid_from
FROM journey.profiles AS p
CROSS JOIN (SELECT max(as_of) AS as_of FROM journey.clock) AS present
WHERE p.valid_from <= present.as_of
QUALIFY row_number() OVER (
    PARTITION BY p.subject_type, p.subject_id, p.attribute ORDER BY p.valid_from DESC, p.event_id
) = 1
