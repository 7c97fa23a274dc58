"""Law 5: removing evidence equals never having had it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from milepost.rules import Rules
from schemas.contracts import FACT_TYPES
from tests.conftest import LAW_RUNS
from tests.laws.comparison import assert_same, heart
from tests.reference import Tables
from tests.reference.erasure import erase
from tests.reference.facts import retract, standing
from tests.strategies import START, VOCABULARY, Facts, Row, fact, hostile_facts, hostile_rules

RUNS = range(LAW_RUNS // 4)


def standing_facts(seed: int) -> Facts:
    facts = hostile_facts(seed, size=200)
    return {fact_type: standing(facts[fact_type]) for fact_type in FACT_TYPES}


def without(tables: Tables, *names: str) -> Tables:
    return {name: rows for name, rows in tables.items() if name not in names}


@pytest.mark.parametrize("seed", RUNS)
def test_retracting_equals_never_having_had(seed: int) -> None:
    facts, rules = standing_facts(seed), hostile_rules(seed)
    left, _, _ = retract(facts)
    # What a retraction names has then not arrived, which only the retraction's own row shows.
    assert_same(without(heart(left, rules), "retractions"), without(heart(facts, rules), "retractions"))


@pytest.mark.parametrize("seed", RUNS)
def test_erasing_equals_never_having_had(seed: int) -> None:
    facts, rules = standing_facts(seed), hostile_rules(seed)
    unretracted, pairs, _ = retract(facts)
    left, _ = erase(unretracted, pairs, VOCABULARY)
    never_had = {**left, "retraction": facts["retraction"], "erasure": []}
    never_had["consent"] = [fact | {"means_erasure": False} for fact in left["consent"]]
    silent = ("erasures", "retractions")
    assert_same(without(heart(never_had, rules), *silent), without(heart(facts, rules), *silent))


def stranger(seed: int) -> Facts:
    """What a person whom nothing connects with the others does."""
    made = hostile_facts(seed, size=40)
    alone: dict[str, Row] = {
        "touchpoint": {
            "identifiers": ["user:stranger"],
            "account_id": None,
            "opportunity_id": "stranger",
            "deal_id": "stranger",
            "conversion_id": None,
            "campaign_id": None,
        },
        "profile": {"subject_type": "customer", "subject_id": "user:stranger"},
        "consent": {"identifier": "user:stranger", "means_erasure": False},
    }
    return {
        fact_type: [row | {"event_id": f"{row['event_id']} stranger"} | said for row in made[fact_type]]
        for fact_type, said in alone.items()
    }


@pytest.mark.parametrize("seed", RUNS)
def test_an_erased_stranger_leaves_no_trace(seed: int) -> None:
    facts, came = hostile_facts(seed, size=120), stranger(seed + 5000)
    erasure = fact(
        "erasure", 0, event_id="stranger", identifier="user:stranger", erased_at=START + timedelta(days=5000)
    )
    both = {fact_type: facts[fact_type] + came.get(fact_type, []) for fact_type in FACT_TYPES}
    both["erasure"].append(erasure)
    assert_same(without(heart(facts, Rules()), "erasures"), without(heart(both, Rules()), "erasures"))
