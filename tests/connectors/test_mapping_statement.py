"""What a mapping may be, and what each refusal says."""

from __future__ import annotations

import pytest

from connectors.errors import MappingError
from connectors.mapping.statement import read_statement

ACCEPTED = [
    "SELECT a FROM raw",
    "SELECT *, 1 AS b FROM raw r;",
    "FROM raw SELECT a",
    "SELECT 'x' AS kind FROM raw UNION ALL SELECT 'y' FROM raw",
    "SELECT a, i FROM raw, unnest(items) AS t(i)",
    "SELECT unnest(items) AS i FROM raw AS q",
    "WITH c AS (SELECT lower(a) AS a FROM raw WHERE a <> '') SELECT a FROM c JOIN products p ON p.sku = c.a",
    "SELECT a, (SELECT max(price) FROM products p WHERE p.sku = raw.a) AS most FROM raw",
    "SELECT a FROM raw LEFT JOIN (SELECT sku, sum(x) AS s FROM products GROUP BY sku) p ON p.sku = a",
    "SELECT list_sum(list_transform(l, lambda x: x::INT)) AS s FROM raw",
    "SELECT age(a::TIMESTAMP, b::TIMESTAMP) AS age FROM raw",
    "SELECT 'now()' AS content, \"now\" FROM raw -- now()",
]

REFUSED = [
    ("SELECT now() AS t FROM raw", "differs from run to run"),
    ("SELECT a.now() AS t FROM raw", "differs from run to run"),
    ('SELECT "random"() AS t FROM raw', "differs from run to run"),
    ("SELECT current_date AS t FROM raw", "differs from run to run"),
    ("SELECT uuid() AS t FROM raw", "differs from run to run"),
    ("SELECT ago(INTERVAL 3 DAY) AS t FROM raw", "differs from run to run"),
    ("SELECT age(a::TIMESTAMP) AS t FROM raw", "reads the clock"),
    ("SELECT getenv('HOME') AS t FROM raw", "differs from run to run"),
    ("SELECT a FROM raw TABLESAMPLE 10%", "SAMPLE"),
    ("SELECT a FROM raw, raw AS b", "joined with itself"),
    ("SELECT count(*) AS n FROM raw", "unit: file"),
    ("SELECT first(a) AS n FROM raw", "unit: file"),
    ("SELECT DISTINCT a FROM raw", "DISTINCT"),
    ("SELECT a FROM raw GROUP BY ALL", "GROUP BY"),
    ("SELECT a FROM raw LIMIT 3", "LIMIT"),
    ("SELECT a FROM raw ORDER BY a", "ORDER BY"),
    ("SELECT row_number() OVER () AS n FROM raw", "window"),
    ("SELECT a FROM raw WHERE a IN (SELECT b FROM raw)", "sees other records"),
    ("WITH c AS (SELECT a FROM raw) SELECT a FROM c WHERE a = (SELECT min(a) FROM c)", "unit: file"),
    ("WITH c AS (SELECT a FROM raw), d AS (SELECT a FROM c LIMIT 1) SELECT a FROM d", "LIMIT"),
    ("SELECT a FROM ((SELECT a FROM raw) LIMIT 1)", "LIMIT"),
    ("SELECT a FROM raw UNION SELECT b FROM raw", "UNION ALL"),
    ("SELECT a FROM raw EXCEPT SELECT b FROM raw", "UNION ALL"),
    ("SELECT * FROM raw UNION ALL SELECT a FROM raw", "BY NAME"),
    ("SELECT a FROM raw RIGHT JOIN products ON true", "LEFT JOIN"),
    ("SELECT a FROM products LEFT JOIN raw ON true", "put raw first"),
    ("SELECT a FROM read_csv('x.csv')", "not declared"),
    ("SELECT a FROM 'x.csv'", "declare"),
    ("SELECT a FROM other", "declare"),
    ("SELECT a FROM main.raw", "not a table here"),
    ("SELECT COLUMNS(*) FROM raw", "name the columns"),
    ("SELECT 1 AS a", "reads no records"),
    ("SELECT a FROM raw; SELECT b FROM raw", "2 statements"),
    ("DELETE FROM raw", "DELETE"),
    ("SELEC a", "syntax error"),
    ("", "empty"),
]


@pytest.mark.parametrize("sql", ACCEPTED)
def test_a_record_mapping_carries_the_row(sql: str) -> None:
    assert read_statement(sql, "m.sql", "record", frozenset({"products"})).text


@pytest.mark.parametrize(("sql", "said"), REFUSED)
def test_a_refusal_names_the_file_and_the_remedy(sql: str, said: str) -> None:
    with pytest.raises(MappingError) as error:
        read_statement(sql, "m.sql", "record", frozenset({"products"}))
    assert str(error.value).startswith("m.sql")
    assert said in str(error.value)
    assert "__milepost" not in str(error.value)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, sum(b::DECIMAL(18,2)) AS s FROM raw GROUP BY a ORDER BY a",
        "SELECT DISTINCT a FROM raw QUALIFY row_number() OVER (PARTITION BY a ORDER BY _row) = 1",
        "SELECT r.a FROM raw r JOIN raw q USING (a) LIMIT 3",
    ],
)
def test_a_file_mapping_may_aggregate(sql: str) -> None:
    assert read_statement(sql, "m.sql", "file", frozenset()).carrying == sql


def test_a_file_mapping_may_not_read_the_clock_or_files() -> None:
    for sql in ("SELECT max(now()) AS n FROM raw", "SELECT count(*) AS n FROM raw, 'x.csv'"):
        with pytest.raises(MappingError):
            read_statement(sql, "m.sql", "file", frozenset())
