"""The ledger between marketing and sales."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from milepost.handovers import HandedOver, hand_over
from milepost.rules import Rules
from schemas.tables import load_tables
from tests.milepost.sales_side import VOCABULARY, at, rows_of, timeline, touch

NO_SHARES = load_tables()["spend_shares"].empty()
OFFERED, ACCEPTED, REJECTED, RECYCLED = (
    "handover",
    "handover_accepted",
    "handover_rejected",
    "handover_recycled",
)


def ledger(*touches: dict[str, Any], shares: pl.DataFrame = NO_SHARES) -> HandedOver:
    return hand_over(timeline(*touches), shares, VOCABULARY, Rules())


def walk(*kinds: str, **said: Any) -> list[str]:
    """What becomes of one subject's steps, one a day: state after each, or why it is ignored."""
    touches = [touch(f"e{day}", kind, at(day), **said) for day, kind in enumerate(kinds, 1)]
    found = rows_of(ledger(*touches).table, "state", "ignored_reason", "status")
    assert all((why is None) == (status == "applied") for _, why, status in found)
    return [state if why is None else why for state, why, _ in found]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([OFFERED, ACCEPTED], ["offered", "sales"]),
        ([OFFERED, REJECTED, OFFERED], ["offered", "marketing", "offered"]),
        ([OFFERED, RECYCLED], ["offered", "marketing"]),
        ([OFFERED, ACCEPTED, RECYCLED, OFFERED], ["offered", "sales", "marketing", "offered"]),
        ([OFFERED, OFFERED], ["offered", "already_offered"]),
        ([OFFERED, ACCEPTED, OFFERED], ["offered", "sales", "owned_by_sales"]),
        ([ACCEPTED], ["nothing_offered"]),
        ([REJECTED], ["nothing_offered"]),
        ([OFFERED, ACCEPTED, ACCEPTED, REJECTED], ["offered", "sales", "owned_by_sales", "owned_by_sales"]),
        ([RECYCLED], ["owned_by_marketing"]),
    ],
)
def test_every_step_in_every_state(kinds: list[str], expected: list[str]) -> None:
    assert walk(*kinds) == expected
    assert walk(*kinds, opportunity_id="deal") == expected


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["opportunity_created", OFFERED], ["sales", "owned_by_sales"]),
        (["opportunity_created", RECYCLED, OFFERED], ["sales", "marketing", "offered"]),
        (["opportunity_created", "opportunity_created"], ["sales", "already_owned"]),
        ([OFFERED, "opportunity_created", ACCEPTED], ["offered", "already_owned", "sales"]),
        ([ACCEPTED, "opportunity_created"], ["nothing_offered", "already_owned"]),
    ],
)
def test_what_sales_created_starts_with_sales(kinds: list[str], expected: list[str]) -> None:
    assert walk(*kinds, opportunity_id="deal") == expected


def test_an_opportunity_of_marketing_or_without_an_id_is_no_step() -> None:
    assert walk("opportunity_created", team="marketing", opportunity_id="deal") == []
    assert walk("opportunity_created") == []


def test_subjects_are_the_opportunity_else_the_account_else_the_customer() -> None:
    table = ledger(
        touch("a", OFFERED, at(1), opportunity_id="deal", account_id="acme"),
        touch("b", OFFERED, at(2), account_id="acme"),
        touch("c", OFFERED, at(3)),
        touch("d", OFFERED, at(4), opportunity_id="ann"),
    ).table
    assert rows_of(table, "handover_id", "subject_type", "subject_id", "status") == [
        ("a", "opportunity", "deal", "applied"),
        ("b", "account", "acme", "applied"),
        ("c", "customer", "ann", "applied"),
        ("d", "opportunity", "ann", "applied"),
    ]
    assert table.schema == load_tables()["handovers"].polars_schema


def test_the_owner_stays_while_the_team_does() -> None:
    table = ledger(
        touch("a", OFFERED, at(1), owner="mia"),
        touch("b", ACCEPTED, at(2), owner="sam"),
        touch("c", OFFERED, at(3), owner="mia"),
        touch("d", RECYCLED, at(4), reason="too early"),
        touch("e", OFFERED, at(5), owner="max"),
        touch("f", REJECTED, at(6), reason="no budget"),
        touch("g", OFFERED, at(7)),
        touch("h", ACCEPTED, at(8)),
    ).table
    assert rows_of(table, "handover_id", "owner_team", "owner", "reason") == [
        ("a", "marketing", "mia", None),
        ("b", "sales", "sam", None),
        ("c", "sales", "sam", None),
        ("d", "marketing", None, "too early"),
        ("e", "marketing", "max", None),
        ("f", "marketing", "max", "no budget"),
        ("g", "marketing", "max", None),
        ("h", "sales", None, None),
    ]


def test_an_offer_shows_the_step_that_ends_it() -> None:
    table = ledger(
        touch("a", OFFERED, at(1)),
        touch("b", OFFERED, at(2)),
        touch("c", REJECTED, at(3)),
        touch("d", OFFERED, at(4)),
        touch("e", ACCEPTED, at(5)),
        touch("f", RECYCLED, at(6)),
        touch("g", OFFERED, at(7)),
    ).table
    assert rows_of(table.filter(step="offered"), "handover_id", "answer", "answered_at") == [
        ("a", "rejected", at(3)),
        ("b", None, None),
        ("d", "accepted", at(5)),
        ("g", None, None),
    ]
    assert table.filter(pl.col("step") != "offered")["answer"].null_count() == 3


def follow_up(*touches: dict[str, Any], offer: str = "offer") -> Any:
    return ledger(*touches).table.filter(handover_id=offer)["first_follow_up_at"].item()


def test_the_first_follow_up_is_sales_first_touch_one_to_one() -> None:
    assert follow_up(
        touch("before", "call", at(1)),
        touch("offer", OFFERED, at(2)),
        touch("step", ACCEPTED, at(3)),
        touch("marketing", "enquiry", at(4)),
        touch("to_many", "call", at(5), reach="one_to_many"),
        touch("another", "call", at(6), customer_id="bob"),
        touch("first", "call", at(7)),
        touch("second", "call", at(8)),
    ) == at(7)


def test_a_follow_up_at_the_same_time_counts_where_the_fold_order_puts_it() -> None:
    assert follow_up(touch("before", "call", at(2)), touch("offer", OFFERED, at(2))) is None
    assert follow_up(touch("offer", OFFERED, at(2)), touch("z", "demo_held", at(2))) == at(2)


def test_a_follow_up_comes_before_the_next_offer_that_applies() -> None:
    steps = [touch("offer", OFFERED, at(1)), touch("again", OFFERED, at(2)), touch("no", REJECTED, at(3))]
    assert follow_up(*steps, touch("met", "call", at(4))) == at(4)
    next_one = touch("next", OFFERED, at(4))
    assert follow_up(*steps, next_one, touch("met", "call", at(5))) is None
    assert follow_up(*steps, next_one, touch("met", "call", at(5)), offer="next") == at(5)


def test_an_opportunity_is_followed_up_by_its_name_or_its_account() -> None:
    offer = touch("offer", OFFERED, at(1), opportunity_id="deal", account_id="acme")
    named = touch("named", "call", at(3), opportunity_id="deal", customer_id="bob")
    met = touch("met", "call", at(2), account_id="acme", customer_id="eve")
    assert follow_up(offer, met, named) == at(2)
    assert follow_up(offer, named) == at(3)
    nobodys = touch("offer", OFFERED, at(1), opportunity_id="deal", customer_id=None)
    assert follow_up(nobodys, touch("x", "call", at(2), opportunity_id="other", customer_id=None)) is None


def test_only_applied_offers_are_due() -> None:
    table = ledger(
        touch("a", OFFERED, at(1, 10)), touch("b", OFFERED, at(1, 11)), touch("c", ACCEPTED, at(1, 12))
    ).table
    assert table["due_at"].to_list() == [at(2, 10), None, None]


def share(touch_id: str, amount: int, currency: str = "EUR", spend_id: str = "spend") -> dict[str, Any]:
    return {"spend_id": spend_id, "touch_id": touch_id, "amount_micros": amount, "currency": currency}


def costs(touches: list[dict[str, Any]], *shares: dict[str, Any]) -> HandedOver:
    schema = NO_SHARES.schema
    rows = [{column: row.get(column) for column in schema} for row in shares]
    return ledger(*touches, shares=pl.DataFrame(rows, schema=schema, orient="row"))


def test_an_offer_costs_what_was_spent_since_the_previous_one() -> None:
    touches = [
        touch("click", "ad_click_display", at(1)),
        touch("others", "ad_click_display", at(1), customer_id="bob"),
        touch("offer", OFFERED, at(2)),
        touch("ignored", OFFERED, at(3)),
        touch("again", "ad_click_display", at(4)),
        touch("no", REJECTED, at(5)),
        touch("offer2", OFFERED, at(6)),
        touch("later", "ad_click_display", at(7)),
    ]
    made = costs(
        touches,
        share("click", 5),
        share("click", 7, spend_id="other"),
        share("others", 100),
        share("offer", 1),
        share("ignored", 20),
        share("again", 3),
        share("offer2", 40),
        share("later", 1000),
    )
    assert rows_of(
        made.table.filter(step="offered"), "handover_id", "cost_micros", "currency", "currencies"
    ) == [
        ("offer", 13, "EUR", 1),
        ("ignored", None, None, 0),
        ("offer2", 63, "EUR", 1),
    ]
    assert sorted(made.costs.rows()) == [("offer", "EUR", 13), ("offer2", "EUR", 63)]


def test_costs_of_two_currencies_are_not_added() -> None:
    made = costs(
        [touch("click", "ad_click_display", at(1)), touch("offer", OFFERED, at(2))],
        share("click", 5),
        share("click", 7, "USD", spend_id="other"),
    )
    offer = made.table.row(0, named=True)
    assert (offer["cost_micros"], offer["currency"], offer["currencies"]) == (None, None, 2)
    assert sorted(made.costs.rows()) == [("offer", "EUR", 5), ("offer", "USD", 7)]


def test_a_share_of_0_is_a_cost_and_no_share_is_none() -> None:
    touches = [touch("click", "ad_click_display", at(1)), touch("offer", OFFERED, at(2))]
    assert rows_of(costs(touches, share("click", 0)).table, "cost_micros", "currencies") == [(0, 1)]
    assert rows_of(costs(touches, share("unknown", 5)).table, "cost_micros", "currencies") == [(None, 0)]


def test_an_account_pays_for_all_of_its_touches_whatever_the_opportunity() -> None:
    made = costs(
        [
            touch("click", "ad_click_display", at(1), account_id="acme", customer_id="bob"),
            touch("mine", "ad_click_display", at(1)),
            touch("offer", OFFERED, at(2), account_id="acme", opportunity_id="deal"),
            touch("other", OFFERED, at(3), account_id="acme", opportunity_id="deal2"),
            touch("nobodys", OFFERED, at(4), customer_id=None, opportunity_id="deal3"),
        ],
        share("click", 5),
        share("mine", 7),
        share("nobodys", 9),
    )
    assert rows_of(made.table, "handover_id", "cost_micros") == [
        ("offer", 5),
        ("other", 5),
        ("nobodys", None),
    ]


def test_the_expected_value_is_the_opportunitys_last_or_the_steps_own() -> None:
    table = ledger(
        touch("a", OFFERED, at(1), opportunity_id="deal"),
        touch("b", "proposal", at(2), opportunity_id="deal", amount_micros=5, currency="EUR"),
        touch("c", "proposal", at(3), opportunity_id="deal"),
        touch("d", ACCEPTED, at(4), opportunity_id="deal", amount_micros=9, currency="USD"),
        touch("e", RECYCLED, at(5), opportunity_id="deal"),
        touch("f", OFFERED, at(6), opportunity_id="deal", amount_micros=7, currency="USD"),
        touch("g", OFFERED, at(7), amount_micros=3, currency="EUR"),
        touch("h", ACCEPTED, at(8), currency="EUR"),
    ).table
    assert rows_of(table, "handover_id", "expected_micros", "expected_currency") == [
        ("a", None, None),
        ("d", 5, "EUR"),
        ("e", 5, "EUR"),
        ("f", 7, "USD"),
        ("g", 3, "EUR"),
        ("h", None, None),
    ]


@pytest.mark.parametrize("touches", [[], [touch("a", "site_visit", at(1))]], ids=["no touches", "no steps"])
def test_without_steps_the_ledger_is_empty(touches: list[dict[str, Any]]) -> None:
    made = ledger(*touches)
    assert made.table.is_empty()
    assert made.table.schema == load_tables()["handovers"].polars_schema
    assert made.costs.schema == {"handover_id": pl.String, "currency": pl.String, "amount_micros": pl.Int64}


def test_steps_without_an_offer() -> None:
    assert rows_of(ledger(touch("a", ACCEPTED, at(1))).table, "due_at", "cost_micros", "currencies") == [
        (None, None, 0)
    ]


def test_words_may_be_strings_as_well() -> None:
    touches = timeline(touch("a", OFFERED, at(1)), touch("b", "call", at(2)))
    plain = touches.with_columns(pl.col("kind", "team", "reach").cast(pl.String))
    first, second = (hand_over(frame, NO_SHARES, VOCABULARY, Rules()).table for frame in (touches, plain))
    assert first.equals(second)
