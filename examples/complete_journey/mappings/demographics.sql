-- demographics.parquet → one profile fact for each attribute that is known of a household.
-- The data give them no date: they count from the first day of the study's year.
SELECT
    CAST(household_id AS VARCHAR) AS "user",
    pair.attribute AS attribute,
    pair.value AS value,
    TIMESTAMP '2017-01-01 00:00:00' AS valid_from,
    household_id || ':' || pair.attribute AS native_id
FROM (
    SELECT
        household_id,
        unnest([
            {'attribute': 'age', 'value': age},
            {'attribute': 'income', 'value': income},
            {'attribute': 'home_ownership', 'value': home_ownership},
            {'attribute': 'marital_status', 'value': marital_status},
            {'attribute': 'household_size', 'value': household_size},
            {'attribute': 'household_composition', 'value': household_comp},
            {'attribute': 'kids', 'value': kids_count}
        ]) AS pair
    FROM raw
) AS listed
WHERE pair.value IS NOT NULL
