SELECT
    account_id AS account,
    pair.attribute AS attribute,
    pair.value AS value,
    created_at AS valid_from,
    'account:' || account_id || ':' || pair.attribute AS native_id,
    received_at
FROM (
    SELECT
        account_id,
        CAST(created_at AS TIMESTAMP) AS created_at,
        CAST(synced_at AS TIMESTAMP) AS received_at,
        unnest([
            {'attribute': 'name', 'value': account_name},
            {'attribute': 'segment', 'value': segment}
        ]) AS pair
    FROM raw
) AS listed
