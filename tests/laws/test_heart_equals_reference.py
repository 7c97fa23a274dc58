"""The fast heart and the row-by-row reference give the same tables, row for row."""

from __future__ import annotations

import pytest
from hypothesis import given

from milepost.rules import Rules
from tests.conftest import LAW_RUNS
from tests.laws.comparison import assert_same, heart, reference
from tests.strategies import Facts, fact_sets, hostile_facts, hostile_rules, hostile_vocabulary, rule_sets


@pytest.mark.parametrize("seed", range(LAW_RUNS // 3))
def test_some_hundred_hostile_facts(seed: int) -> None:
    facts, rules = hostile_facts(seed, size=300), hostile_rules(seed)
    assert_same(reference(facts, rules), heart(facts, rules), f"hostile_facts({seed}, size=300)")


@pytest.mark.parametrize("seed", range(1000, 1000 + LAW_RUNS // 3))
def test_few_hostile_facts(seed: int) -> None:
    facts, rules = hostile_facts(seed, size=40), hostile_rules(seed)
    assert_same(reference(facts, rules), heart(facts, rules), f"hostile_facts({seed}, size=40)")


@pytest.mark.parametrize("seed", range(2000, 2000 + LAW_RUNS // 6))
def test_other_ranks_and_protections(seed: int) -> None:
    facts, rules, vocabulary = hostile_facts(seed, size=120), hostile_rules(seed), hostile_vocabulary(seed)
    assert_same(
        reference(facts, rules, vocabulary),
        heart(facts, rules, vocabulary),
        f"hostile_facts({seed}, size=120), hostile_vocabulary({seed})",
    )


@given(facts=fact_sets(), rules=rule_sets())
def test_any_facts_and_settings(facts: Facts, rules: Rules) -> None:
    assert_same(reference(facts, rules), heart(facts, rules))


def test_no_facts_at_all() -> None:
    tables = heart({}, Rules())
    assert not any(tables.values())
    assert_same(reference({}, Rules()), tables)
