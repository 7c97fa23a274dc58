"""Pairwise precision and recall on cases that can be counted by hand."""

from __future__ import annotations

from itertools import combinations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.keys import HashingKey
from milepost.simulate import pairwise_quality, stitching_quality
from milepost.simulate.truth import components, identifiers_seen

TRUTH_SCHEMA = {
    "namespace": pl.String,
    "value": pl.String,
    "true_customer": pl.Int64,
    "evidence_group": pl.Int64,
    "shared_device": pl.Boolean,
}


def truth_of(*rows: tuple[str, int, int, bool]) -> pl.DataFrame:
    return pl.DataFrame([("cookie", *row) for row in rows], schema=TRUTH_SCHEMA, orient="row")


def identities_of(**customers: str) -> pl.DataFrame:
    return pl.DataFrame(
        [("cookie", value, customer) for value, customer in customers.items()],
        schema={"namespace": pl.String, "value": pl.String, "customer_id": pl.String},
        orient="row",
    )


def test_all_right() -> None:
    quality = pairwise_quality(
        truth_of(("a", 1, 1, False), ("b", 1, 1, False), ("c", 2, 3, False)),
        identities_of(a="x", b="x", c="y"),
    )
    assert (quality.precision, quality.recall, quality.recall_of_all) == (1, 1, 1)
    assert (quality.found_pairs, quality.true_pairs) == (1, 1)


def test_two_people_in_one_cost_precision() -> None:
    quality = pairwise_quality(
        truth_of(("a", 1, 1, False), ("b", 1, 1, False), ("c", 2, 3, False)),
        identities_of(a="x", b="x", c="x"),
    )
    assert quality.precision == pytest.approx(1 / 3)
    assert quality.recall == 1


def test_one_person_in_two_costs_recall() -> None:
    quality = pairwise_quality(
        truth_of(("a", 1, 1, False), ("b", 1, 1, False), ("c", 1, 1, False)),
        identities_of(a="x", b="x", c="y"),
    )
    assert quality.precision == 1
    assert quality.recall == pytest.approx(1 / 3)


def test_what_no_record_connects_counts_in_the_recall_of_all_only() -> None:
    quality = pairwise_quality(truth_of(("a", 1, 1, False), ("b", 1, 2, False)), identities_of(a="x", b="y"))
    assert quality.recall == 1
    assert quality.recall_of_all == 0


def test_a_shared_device_is_in_no_pair_but_what_it_merges_is() -> None:
    rows = (("a", 1, 1, False), ("b", 2, 2, False), ("kiosk", 1, 3, True))
    apart = pairwise_quality(truth_of(*rows), identities_of(a="x", b="y", kiosk="x"))
    assert (apart.found_pairs, apart.precision) == (0, 1)
    merged = pairwise_quality(truth_of(*rows), identities_of(a="x", b="x", kiosk="x"))
    assert (merged.found_pairs, merged.precision) == (1, 0)


def test_what_the_warehouse_lost_costs_recall() -> None:
    quality = pairwise_quality(truth_of(("a", 1, 1, False), ("b", 1, 1, False)), identities_of(a="x"))
    assert (quality.missing, quality.recall) == (1, 0)


def test_nothing_at_all_is_no_error() -> None:
    quality = pairwise_quality(truth_of(), identities_of())
    assert (quality.precision, quality.recall, quality.identifiers) == (1, 1, 0)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 4), st.booleans()), max_size=12)
)
def test_counts_equal_those_over_pairs_one_by_one(rows: list[tuple[int, int, int, bool]]) -> None:
    truth = truth_of(*((str(n), true, group, shared) for n, (true, group, _, shared) in enumerate(rows)))
    identities = identities_of(**{str(n): str(found) for n, (_, _, found, _) in enumerate(rows)})
    quality = pairwise_quality(truth, identities)
    pairs = list(combinations([row[:3] for row in rows if not row[3]], 2))
    true = [a[0] == b[0] for a, b in pairs]
    found = [a[2] == b[2] for a, b in pairs]
    evident = [a[:2] == b[:2] for a, b in pairs]
    assert quality.true_pairs == sum(true)
    assert quality.found_pairs == sum(found)
    assert quality.evidence_pairs == sum(evident)
    assert quality.found_true_pairs == sum(t and f for t, f in zip(true, found, strict=True))
    assert quality.found_evidence_pairs == sum(e and f for e, f in zip(evident, found, strict=True))


def test_personal_values_are_compared_as_the_warehouse_stores_them() -> None:
    key = HashingKey(b"0" * 32)
    truth = pl.DataFrame(
        [
            ("email", "ada@customers.test", 1, 1, False),
            ("phone", "+33639980001", 1, 1, False),
            ("user", "u1", 1, 1, False),
        ],
        schema=TRUTH_SCHEMA,
        orient="row",
    )
    identities = pl.DataFrame(
        {
            "namespace": ["email", "phone", "user"],
            "value": [key.hash("email", "ada@customers.test"), key.hash("phone", "+33639980001"), "u1"],
            "customer_id": ["x", "x", "x"],
        }
    )
    quality = stitching_quality(truth, identities, key)
    assert (quality.missing, quality.recall, quality.found_pairs) == (0, 1, 3)
    assert stitching_quality(truth, identities, HashingKey(b"1" * 32)).missing == 2


def record(person: int, **names: str) -> dict[str, object]:
    blank = dict.fromkeys(
        (
            "user",
            "crm_contact",
            "loyalty_card",
            "email",
            "phone",
            "social_handle",
            "push_token",
            "device",
            "cookie",
        )
    )
    return {"person": person, **blank, **names}


def test_the_truth_tells_own_shared_and_unconnected_identifiers_apart() -> None:
    named = pl.DataFrame(
        [
            record(1, user="u1", cookie="desk"),
            record(1, user="u1", email="a@b.test"),
            record(1, cookie="phone"),
            record(1, user="u1", cookie="kiosk"),
            record(2, user="u2", cookie="kiosk"),
            record(2, cookie="(not set)"),
        ],
        schema_overrides=dict.fromkeys(record(1), pl.String) | {"person": pl.Int64},
    )
    nothing = pl.DataFrame(schema={"person": pl.Int64, "contact_id": pl.String, "user_id": pl.String})
    rows = {row["value"]: row for row in identifiers_seen(named, nothing).iter_rows(named=True)}
    assert set(rows) == {"u1", "u2", "desk", "phone", "kiosk", "a@b.test"}
    assert [value for value, row in rows.items() if row["shared_device"]] == ["kiosk"]
    assert (
        rows["u1"]["evidence_group"] == rows["desk"]["evidence_group"] == rows["a@b.test"]["evidence_group"]
    )
    assert rows["phone"]["evidence_group"] != rows["u1"]["evidence_group"]
    assert rows["phone"]["true_customer"] == rows["u1"]["true_customer"] == 1


def test_components_of_a_long_chain() -> None:
    chain = pl.int_range(0, 999, eager=True).to_numpy()
    assert set(components(1_001, chain, chain + 1)[:1_000]) == {0}
    assert components(1_001, chain, chain + 1)[1_000] == 1_000
