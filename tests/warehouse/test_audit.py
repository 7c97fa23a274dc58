"""Audits: every law says no to what breaks it, Great Expectations agrees with the vectorised pass, severity decides."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.contracts import FACT_TYPES, frame_schema
from schemas.tables import load_tables
from schemas.vocabulary import load_vocabulary
from tests.places import Place, filled
from tests.warehouse.filling import STORY, at, frame
from warehouse.audit import (
    audit,
    combine_violations,
    count_violations,
    count_whole_violations,
    judge,
    planned_expectations,
    planned_whole_laws,
)
from warehouse.audit.expectations import fact_expectations, load_laws, table_expectations
from warehouse.audit.laws import LAWS
from warehouse.audit.whole import Touched

TABLES = {name: table.empty() for name, table in load_tables().items()} | {
    name: frame(name, rows) for name, rows in STORY.items()
}


def changed(table: str, row: int, **values: Any) -> dict[str, pl.DataFrame]:
    """Give the story's tables with one row changed."""
    rows = TABLES[table].to_dicts()
    rows[row] |= values
    return TABLES | {table: frame(table, rows)}


def broken(tables: dict[str, pl.DataFrame], **options: Any) -> dict[str, int]:
    counts = count_violations(tables, **options).filter(pl.col("violations") > 0)
    return dict(counts.select("expectation", "violations").rows())


# ------------------------------------------------------------------------------------------- declarations


def test_every_law_that_is_declared_has_code_and_the_other_way_round() -> None:
    assert {law.name for law in load_laws()} == set(LAWS)


def test_declared_columns_and_words_exist_and_names_are_unique() -> None:
    names = [law.name for law in load_laws()]
    for table, rules in table_expectations().items():
        for rule in rules:
            assert set(rule.reads) <= set(load_tables()[table].polars_schema), rule
            names.append(rule.name)
    for fact_type, rules in fact_expectations().items():
        for rule in rules:
            assert set(rule.reads) <= set(frame_schema(fact_type)), rule
            assert "received_at" not in rule.reads
            names.append(rule.name)
    assert len(names) == len(set(names))
    assert set(fact_expectations()) == set(FACT_TYPES)


# ------------------------------------------------------------------------------------------- laws


def test_the_story_breaks_nothing() -> None:
    assert broken(TABLES) == {}
    assert broken({name: table.empty() for name, table in load_tables().items()}) == {}


@pytest.mark.parametrize(
    ("table", "row", "values", "expected"),
    [
        ("credits", 0, {"credit": Decimal("0.999999999999")}, {"credits_sum_to_conversion"}),
        ("credits", 0, {"amount_micros": 99_999_999}, {"credits_sum_to_conversion"}),
        ("credits", 0, {"net_micros": 80_000_001}, {"credits_sum_to_conversion"}),
        ("credits", 3, {"currency": "USD"}, {"credits_sum_to_conversion"}),
        ("credits", 0, {"conversion_id": "x"}, {"credits_name_a_conversion", "conversions_credited_by_every_model"}),
        ("credits", 3, {"event_id": "t01"}, {"credits_key_unique"}),
        ("channel_credits", 0, {"amount_micros": 1}, {"channel_credits_sum_to_conversions"}),
        ("channel_credits", 0, {"credit": Decimal("0.6")}, {"channel_credits_sum_to_conversions"}),
        ("conversions", 0, {"refunded_micros": 0}, {"conversions_net_is_amount_less_refunds"}),
        ("conversions", 0, {"currency": None, "kind": "barter"},
         {"conversions_have_currency", "conversions_kind_known", "credits_sum_to_conversion",
          "channel_credits_sum_to_conversions", "money_is_the_conversions"}),
        ("touchpoints", 0, {"books": True}, {"conversions_are_touchpoints_that_book"}),
        ("touchpoints", 0, {"customer_id": "nobody"}, {"touchpoints_have_journeys"}),
        ("touchpoints", 0, {"account_id": "nobody"}, {"touchpoints_have_accounts"}),
        ("touchpoints", 0, {"kind": "telepathy"}, {"touchpoints_kind_known"}),
        ("touchpoints", 0, {"amount_micros": -1},
         {"touchpoints_amount_not_negative", "touchpoints_amount_has_currency"}),
        ("touchpoints", 0, {"event_id": None}, {"touchpoints_event_id_present", "shares_name_spend_and_touch"}),
        ("journeys", 0, {"conversions": 2}, {"journeys_count_their_conversions"}),
        ("journeys", 0, {"status": "sulking"}, {"journeys_status_known"}),
        ("journeys", 0, {"last_touch_at": at("2020-01-01")}, {"journeys_last_not_before_first"}),
        ("money", 0, {"amount_micros": 1}, {"money_is_the_conversions"}),
        ("stage_entries", 1, {"from_stage": None}, {"stage_entries_go_forward"}),
        ("stage_entries", 1, {"stage": "awareness"}, {"stage_entries_go_forward"}),
        ("stage_entries", 1, {"entered_at": at("2020-01-01")}, {"stage_entries_go_forward"}),
        ("stage_entries", 4, {"customer_id": "nobody"}, {"stage_entries_have_journeys"}),
        ("handovers", 1, {"step": "offered", "state": "offered", "owner_team": "marketing"}, {"ledger_has_one_owner"}),
        ("handovers", 1, {"owner_team": "marketing"}, {"ledger_has_one_owner"}),
        ("handovers", 0, {"cost_micros": -1}, {"handovers_cost_not_negative"}),
        ("spend", 0, {"allocated_micros": 39_999_999}, {"shares_sum_to_allocated"}),
        ("spend", 1, {"allocated_micros": 10_000_001}, {"shares_sum_to_allocated", "spend_allocated_at_most_all"}),
        ("spend_shares", 0, {"touch_id": "nothing"}, {"shares_name_spend_and_touch"}),
    ],
)  # fmt: skip
def test_a_broken_row_is_found_by_name(
    table: str, row: int, values: dict[str, Any], expected: set[str]
) -> None:
    assert broken(changed(table, row, **values)).keys() == expected


def test_an_alias_to_nobody_and_a_key_twice_are_found_with_their_ids() -> None:
    alias = frame("customer_aliases", [{"old_customer_id": "old", "customer_id": "gone"}] * 2)
    found = count_violations(TABLES | {"customer_aliases": alias}).filter(pl.col("violations") > 0)
    assert dict(found.select("expectation", "examples").rows()) == {
        "customer_aliases_key_unique": ["old"],
        "aliases_lead_to_customers": ["gone"],
    }


def test_rows_of_some_customers_are_not_asked_for_laws_of_the_whole() -> None:
    tables = changed("channel_credits", 0, amount_micros=1)
    assert broken(tables, whole=False) == {}
    assert "shares_sum_to_allocated" not in planned_expectations(tables, whole=False)


def test_a_law_whose_table_is_not_staged_is_not_asked() -> None:
    some = {"credits": TABLES["credits"]}
    assert "credits_sum_to_conversion" not in planned_expectations(some)
    assert set(count_violations(some)["expectation"]) == set(planned_expectations(some))


def test_counts_of_shards_add_up() -> None:
    one = count_violations(changed("touchpoints", 0, kind="telepathy"))
    both = combine_violations([one, one]).filter(pl.col("expectation") == "touchpoints_kind_known")
    rows = len(STORY["touchpoints"])
    assert both.select("rows", "violations", "examples").row(0) == (2 * rows, 2, ["t01", "t01"])


def test_examples_are_at_most_twenty() -> None:
    many = pl.concat([TABLES["exposures"]] * 50).with_columns(count=pl.lit(-1, pl.Int64))
    found = count_violations({"exposures": many}).filter(pl.col("expectation") == "exposures_not_negative")
    assert (found["violations"].item(), found["examples"].list.len().item()) == (50, 20)


@pytest.mark.parametrize(
    ("table", "row", "values"),
    [
        ("channel_credits", 0, {}),
        ("channel_credits", 0, {"amount_micros": 1}),
        ("channel_credits", 2, {"currency": "EUR"}),
        ("conversions", 0, {"amount_micros": 7}),
        ("spend", 0, {"allocated_micros": 1}),
        ("spend_shares", 0, {"touch_id": "nothing"}),
        ("spend_shares", 0, {"spend_id": "nothing"}),
    ],
)
def test_the_database_says_of_the_whole_what_frames_say(
    table: str, row: int, values: dict[str, Any], place: Place
) -> None:
    tables = changed(table, row, **values)
    columns = ["expectation", "violations", "rows", "examples"]
    by_frames = count_violations(tables).filter(pl.col("expectation").is_in(planned_whole_laws()))
    everything = Touched(
        pl.concat([tables["spend"]["event_id"], tables["spend_shares"]["spend_id"]]),
        tables["touchpoints"]["event_id"],
    )
    with filled(place, tables) as database, database.transaction():
        of_all = count_whole_violations(database)
        of_touched = count_whole_violations(database, touched=everything)
        of_nothing = count_whole_violations(database, touched=Touched(*[pl.Series(dtype=pl.String)] * 2))
    assert of_all.select(columns).rows() == by_frames.select(columns).rows()
    assert by_frames["violations"].sum() == 0 or values
    found = ["expectation", "violations", "examples"]
    assert of_touched.select(found).rows() == by_frames.select(found).rows()
    assert of_nothing.filter(pl.col("expectation") != "channel_credits_sum_to_conversions")["rows"].sum() == 0


def test_shares_of_a_touchpoint_that_goes_are_asked_of(place: Place) -> None:
    tables = changed("spend_shares", 0, touch_id="gone")
    gone = Touched(pl.Series(dtype=pl.String), pl.Series(["gone"]))
    with filled(place, tables) as database, database.transaction():
        found = count_whole_violations(database, touched=gone)
    assert dict(found.select("expectation", "violations").rows())["shares_name_spend_and_touch"] == 1


# ------------------------------------------------------------------------------------------- the audit


@pytest.mark.parametrize("full", [False, True])
def test_a_good_publication_passes(full: bool) -> None:
    result = audit(TABLES, full=full)
    assert (result.passed, result.verdict, result.explain()) == (True, "passed", "")
    assert len(result.results) == len(planned_expectations(TABLES)) + 1


@pytest.mark.parametrize("full", [False, True])
def test_a_critical_failure_withholds_with_the_reason(full: bool) -> None:
    result = audit(changed("touchpoints", 0, kind="telepathy"), full=full)
    assert (result.passed, result.verdict) == (False, "withheld")
    assert result.explain() == (
        f"touchpoints: touchpoints_kind_known failed for 1 of {len(STORY['touchpoints'])} rows"
        " (Every kind is in the vocabulary.) t01"
    )


def test_a_warning_does_not_withhold() -> None:
    result = audit(changed("campaigns", 0, ends_on=date(2000, 1, 1)))
    assert (result.passed, result.verdict) == (True, "passed_with_warnings")
    assert [warning.expectation for warning in result.warnings] == ["campaigns_end_after_start"]


def test_an_expectation_that_was_not_counted_fails_the_audit() -> None:
    counted = count_violations(TABLES)
    result = judge(counted.slice(1), planned_expectations(TABLES))
    assert [failure.expectation for failure in result.failures] == ["audit_complete"]
    twice = judge(pl.concat([counted, counted.head(1)]), planned_expectations(TABLES))
    assert not twice.passed


def test_what_suites_find_in_rows_withholds_too() -> None:
    result = judge(
        count_violations(TABLES), planned_expectations(TABLES), failed_rows={"spend_not_negative": 3}
    )
    assert [(f.expectation, f.unexpected_count) for f in result.failures] == [("spend_not_negative", 3)]


def test_suites_over_rows_find_what_the_vectorised_pass_finds() -> None:
    """Each row-level expectation of a table, broken once: both engines count the same."""
    from warehouse.audit.run import _audit_rows

    bad = dict(TABLES)
    for table, row, values in [
        ("touchpoints", 0, {"kind": "x", "stage": "x", "team": None, "amount_micros": -5}),
        ("journeys", 0, {"status": None, "touches": -1, "last_touch_at": at("2001-01-01"), "currency": None}),
        ("credits", 3, {"event_id": "t01", "credit": Decimal("1.5"), "currency": None}),
        (
            "handovers",
            0,
            {"state": "limbo", "first_follow_up_at": at("2001-01-01"), "expected_currency": None},
        ),
        ("spend", 0, {"allocated_micros": 50_000_000, "event_id": "s2", "channel": "smoke"}),
        ("campaigns", 0, {"ends_on": date(2000, 1, 1)}),
    ]:
        bad[table] = changed(table, row, **values)[table]
    row_level = {
        rule.name for rules in table_expectations().values() for rule in rules if rule.check != "unique"
    }
    by_pass = broken(bad)
    by_suites = _audit_rows(bad, table_expectations(), load_vocabulary())
    assert {n: c for n, c in by_suites.items() if n in row_level} == {
        n: c for n, c in by_pass.items() if n in row_level
    }
    # Of rows that repeat a key, suites count each and the pass all but the first.
    assert (
        {n for n in by_suites if n not in row_level}
        == {"credits_key_unique", "spend_key_unique"}
        <= by_pass.keys()
    )


def test_great_expectations_is_loaded_only_where_an_audit_runs() -> None:
    code = "import sys, warehouse.audit, warehouse.report; sys.exit('great_expectations' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode
        == 0
    )
