"""A mapping runs over batches; what it fails on is told, and the rest goes on."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from connectors.errors import MappingError
from connectors.ids import event_id
from connectors.keys import HashingKey, Identifiers
from connectors.mapping.engine import MappingEngine
from connectors.mapping.facts import Origin, make_facts
from schemas.contracts import frame_schema
from schemas.vocabulary import load_vocabulary

RAW = pa.table(
    {
        "_row": pa.array([1, 2, 3, 4], pa.int64()),
        "day": ["2020-01-01", "x", "2020-01-03", "2020-01-04"],
        "amt": ["1.5", "2", "bad", "4"],
        "k": ["order", "order", "visit", "visit"],
        "mail": ["Ann@Example.COM", " d@e.f ", None, "test@example.com"],
    }
)


def engine(sql: str, unit: str = "record", fact: str = "touchpoint", zone: str = "UTC") -> MappingEngine:
    return MappingEngine(
        file="m.sql",
        text=sql,
        fact=fact,
        unit=unit,
        system="shop",
        zone=zone,
        lookups={"products": pa.table({"k": ["order"], "channel": ["in_store"]})},
        vocabulary=load_vocabulary(),
    )


def facts(
    sql: str, unit: str = "record", fact: str = "touchpoint", raw: pa.Table = RAW, **options: Any
) -> pl.DataFrame:
    runs = engine(sql, unit, fact, **options)

    def digests(rows: pl.Series) -> pl.DataFrame:
        if unit == "file":
            return pl.DataFrame(
                {"_row": rows, "digest": ["f" * 64] * len(rows), "occurrence": [1] * len(rows)}
            )
        return runs.digests(raw).with_columns(pl.lit(1, pl.Int64).alias("occurrence"))

    origin = Origin("shop", "c" * 32, 5, "v", fact, unit)
    identifiers = Identifiers(load_vocabulary(), HashingKey(b"0" * 32), "DE")
    return make_facts(runs.map_batch(raw).rows, origin, identifiers, digests).facts


@pytest.mark.parametrize(
    ("sql", "good", "bad"),
    [
        ("SELECT 'order' AS kind, day::DATE AS occurred_at FROM raw", [1, 3, 4], [2]),
        (
            "SELECT 'order' AS kind, strptime(day, '%Y-%m-%d') AS occurred_at, amt::DECIMAL(9,2) AS amount FROM raw",
            [1, 4],
            [2, 3],
        ),
        ("SELECT k AS kind, amt::DECIMAL(9,2) AS amount FROM raw WHERE k = 'order'", [1, 2], []),
        (
            "SELECT k AS kind, CASE WHEN k = 'order' THEN amt::DECIMAL(9,2) END AS amount FROM raw",
            [1, 2, 3, 4],
            [],
        ),
        ("SELECT k AS kind FROM raw WHERE amt::DECIMAL(9,2) > 1", [1, 2, 4], [3]),
        (
            "WITH c AS (SELECT * FROM raw WHERE k = 'visit') "
            "SELECT k AS kind, day::DATE AS occurred_at, amt::DECIMAL(9,2) AS amount FROM c",
            [4],
            [3],
        ),
        (
            "SELECT k AS kind, amt::DECIMAL(9,2) AS amount FROM raw "
            "UNION ALL SELECT k, amt::DECIMAL(9,2) FROM raw WHERE day::DATE > '2020-01-01'",
            [1, 4, 4],
            [2, 3],
        ),
        (
            "SELECT p.channel, p.k AS kind, amt::DECIMAL(9,2) AS amount FROM raw JOIN products p USING (k)",
            [1, 2],
            [],
        ),
    ],
)
def test_records_that_a_mapping_fails_on_are_told_and_the_others_go_on(
    sql: str, good: list[int], bad: list[int]
) -> None:
    mapped = engine(sql).map_batch(RAW)
    assert mapped.rows["_row"].to_list() == good
    assert mapped.faults["_row"].to_list() == bad
    assert not mapped.faults["reason"].str.contains("bad|'x'").any(), "reasons quote no values"


def test_faults_do_not_depend_on_the_size_of_batches() -> None:
    sql = (
        "SELECT k AS kind, day::DATE AS occurred_at, amt::DECIMAL(9,2) AS amount FROM raw WHERE k <> 'visit'"
    )
    whole = engine(sql).map_batch(RAW)
    single = [engine(sql).map_batch(RAW.slice(at, 1)) for at in range(4)]
    assert pl.concat([one.rows for one in single]).equals(whole.rows)
    assert pl.concat([one.faults for one in single])["_row"].to_list() == whole.faults["_row"].to_list()


def test_a_file_mapping_sums_up_the_good_records() -> None:
    made = facts("SELECT k AS kind, sum(amt::DECIMAL(9,2)) AS amount FROM raw GROUP BY k ORDER BY k", "file")
    assert made.select("kind", "amount_micros").rows() == [("order", 3_500_000), ("visit", 4_000_000)]
    assert made["event_id"].n_unique() == 2
    assert made["raw_ids"].to_list() == [["c" * 32]] * 2


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT nope AS kind FROM raw", 'column "nope" not found'),
        ("SELECT amt::DOUBLE AS amount FROM raw", r"DECIMAL\(18,6\)"),
        ("SELECT day AS occurred_at FROM raw", "::TIMESTAMP"),
        ("SELECT k AS kin FROM raw", "did you mean kind"),
        ("SELECT k AS campaign, k AS campaign_id FROM raw", "say the same"),
        ("SELECT {'a': k} AS content FROM raw", "one text"),
        ("SELECT 'yes' AS score_percent FROM raw", "BIGINT"),
    ],
)
def test_a_mapping_that_does_not_fit_says_what_helps(sql: str, said: str) -> None:
    with pytest.raises(MappingError, match=said):
        engine(sql).map_batch(RAW)


def test_a_column_that_no_json_record_has_is_null() -> None:
    rows = engine("SELECT k AS kind, nope AS content FROM raw").map_batch(RAW, absent_is_null=True).rows
    assert rows["content"].null_count() == 4


def test_nothing_can_be_read_from_outside() -> None:
    # A lambda's parameter hides no read: whatever the checks let pass, the connection itself is closed.
    runs = engine("SELECT k AS kind FROM raw")
    for sql in ("SELECT * FROM read_csv('/etc/hostname')", "SET memory_limit = '9GB'", "ATTACH '/tmp/x.db'"):
        with pytest.raises(Exception, match=r"disabled|locked"):
            runs._connection.execute(sql)


def test_facts_have_the_contract_columns_defaults_and_hashed_persons() -> None:
    made = facts(
        "SELECT 'order' AS kind, '2020-01-01'::TIMESTAMP AS occurred_at, mail AS email, [k, NULL, ''] AS cookie, "
        "'030 123456' AS phone, [k, ''] AS products, {'b': 1, 'a': 2} AS properties, 'eur' AS currency, "
        "1.5 AS amount FROM raw"
    )
    assert made.drop("_row").schema == frame_schema("touchpoint")
    first = made.row(0, named=True)
    assert (first["channel"], first["team"], first["reach"]) == ("storefront", "marketing", "one_to_many")
    assert first["amount_micros"] == 1_500_000
    assert first["currency"] == "EUR"
    assert first["products"] == ["order"]
    assert first["properties"] == '{"a":2,"b":1}'
    assert [name.partition(":")[0] for name in first["identifiers"]] == ["email", "phone", "cookie"]
    assert "example" not in str(made.to_dicts()).lower()
    assert made["identifiers"].to_list()[3][0] == "email:(blocked)"


def test_a_zone_shifts_naive_times() -> None:
    sql = "SELECT 'order' AS kind, '2020-07-01 00:00:00'::TIMESTAMP AS occurred_at FROM raw"
    berlin, utc = facts(sql, zone="Europe/Berlin"), facts(sql)
    assert (utc["occurred_at"][0] - berlin["occurred_at"][0]).total_seconds() == 7200


def test_event_ids_follow_native_id_else_the_record_else_its_facts() -> None:
    natives = facts("SELECT 'order' AS kind, k AS native_id FROM raw")["event_id"].to_list()
    assert natives[0] == natives[1] != natives[2]
    one = facts("SELECT 'order' AS kind, k AS content FROM raw")["event_id"].to_list()
    assert len(set(one)) == 4
    shuffled = RAW.select(["mail", "k", "_row", "amt", "day"])
    assert facts("SELECT 'order' AS kind, k AS content FROM raw", raw=shuffled)["event_id"].to_list() == one
    several = facts("SELECT 'order' AS kind, unnest(['a', 'b']) AS content FROM raw")
    assert several["event_id"].n_unique() == 8
    turned = facts("SELECT 'order' AS kind, unnest(['b', 'a']) AS content FROM raw")
    assert dict(several.select("event_id", "content").rows()) == dict(
        turned.select("event_id", "content").rows()
    )


EVERY_TYPE: list[tuple[str, str, dict[str, Any]]] = [
    (
        "identity_link",
        "'u1' AS user, 'c1' AS cookie, '2020-01-01'::DATE AS seen_at",
        {"a": "user:u1", "b": "cookie:c1", "confirmed": False},
    ),
    ("identity_link", "'user:u1' AS a, 'cookie:c:1' AS b", {"a": "user:u1", "b": "cookie:c:1"}),
    (
        "profile",
        "'acme' AS account, 'name' AS attribute, 'Acme' AS value",
        {"subject_type": "account", "subject_id": "acme"},
    ),
    ("profile", "'u1' AS user, 'role' AS attribute", {"subject_type": "customer", "subject_id": "user:u1"}),
    ("erasure", "'u1' AS user, '2020-01-01'::DATE AS erased_at", {"identifier": "user:u1"}),
    (
        "consent",
        "'user:u1' AS identifier, 'analytics' AS purpose, false AS granted",
        {"identifier": "user:u1", "granted": False, "means_erasure": False},
    ),
    ("retraction", "'n1' AS target_native_id", {"target_event_id": event_id("shop", "n1")}),
    (
        "spend",
        "'c' AS campaign, 'social' AS channel, '2020-01-01'::DATE AS day, 3 AS amount, 'usd' AS currency",
        {"amount_micros": 3_000_000, "currency": "USD", "day": date(2020, 1, 1)},
    ),
    ("exposure", "'radio' AS channel, 500 AS count", {"count": 500, "campaign_id": None}),
    ("campaign", "'c' AS campaign, 'Spring' AS name", {"campaign_id": "c", "name": "Spring"}),
]


@pytest.mark.parametrize(("fact", "yields", "expected"), EVERY_TYPE)
def test_every_type_of_fact_has_a_mapping(fact: str, yields: str, expected: dict[str, Any]) -> None:
    made = facts(f"SELECT {yields} FROM raw", fact=fact)
    assert made.drop("_row").schema == frame_schema(fact)
    first = made.row(0, named=True)
    assert {name: first[name] for name in expected} == expected


def test_a_key_that_no_record_has_is_null_also_where_the_mapping_gives_its_name() -> None:
    mapped = engine("SELECT 'site_visit' AS kind, nullif(campaign, '') AS campaign FROM raw").map_batch(
        pa.table({"_row": [1], "other": ["x"]}), absent_is_null=True
    )
    assert mapped.rows["campaign"].to_list() == [None]


def test_a_key_whose_name_is_given_again_is_the_key_in_every_batch() -> None:
    mapping = (
        "SELECT 'site_visit' AS kind, coalesce(campaign, 'none') AS campaign, campaign AS content FROM raw"
    )
    mapped = engine(mapping).map_batch(pa.table({"_row": [1], "other": ["x"]}), absent_is_null=True)
    assert mapped.rows["content"].to_list() == [None]


def test_a_name_given_before_may_not_be_read_where_records_choose_their_keys() -> None:
    table = pa.table({"_row": [1], "a": ["x"]})
    mapping = "SELECT 'site_visit' AS kind, a AS cookie, cookie AS user FROM raw"
    assert engine(mapping).map_batch(table).rows.height == 1
    with pytest.raises(MappingError, match=r"raw\.cookie"):
        engine(mapping).map_batch(table, absent_is_null=True)
