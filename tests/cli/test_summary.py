"""The summary of a run reads the same figures as both teams' views."""

from io import StringIO

import pytest
from rich.console import Console

from milepost.cli.summary import print_summary, summarise
from milepost.cli.warehouse import open_warehouse
from tests.cli.publishing import publish, touch

EUROS = {"currency": "EUR"}


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    home = tmp_path_factory.mktemp("summary")
    publish(
        home,
        touch("01", "ad_click_social", 0, "user:1"),
        touch("02", "site_visit", 1, "user:1"),
        touch("03", "order", 2, "user:1", amount_micros=10_000_000, **EUROS),
        touch("04", "refund", 3, "user:1", amount_micros=4_000_000, conversion_id="03", **EUROS),
        touch("05", "ad_click_social", 0, "user:2"),
        touch("06", "order", 5, "user:3", amount_micros=7_000_000, currency="USD"),
        fates={
            "shop": {
                "records": {"received": 7, "mapped": 6, "rejected": 1},
                "facts": {"yielded": 6, "accepted": 6, "duplicate": 0},
            }
        },
    )
    with open_warehouse(home) as warehouse:
        return summarise(warehouse)


def test_stages_count_journeys_and_the_rates_between(summary):
    counted = {stage.stage: (stage.entered, stage.reached, stage.rate) for stage in summary.stages}
    assert counted["awareness"] == (2, 3, None)
    assert counted["consideration"] == (1, 2, pytest.approx(2 / 3))
    assert counted["conversion"][:2] == (2, 2)
    absent = [stage.stage for stage in summary.stages if not stage.in_source]
    assert absent == ["intent", "retain", "grow"]


def test_currencies_stand_apart(summary):
    assert {(b.currency, b.conversions, b.booked_micros, b.net_micros) for b in summary.booked} == {
        ("EUR", 1, 10_000_000, 6_000_000),
        ("USD", 1, 7_000_000, 7_000_000),
    }


def test_best_channels_are_those_of_two_models(summary):
    found = [(channel.model, channel.channel) for channel in summary.channels]
    assert found[0] == ("last_touch", "website")
    assert {model for model, _ in found} == {"last_touch", "markov"}


def test_it_prints_what_a_user_wants_to_see(summary):
    text = StringIO()
    print_summary(summary, Console(file=text, width=110))
    for words in (
        "6 mapped, 1 rejected",
        "Awareness",
        "absent in the source",
        "EUR 10.00, EUR 6.00 after refunds",
    ):
        assert words in text.getvalue()
    assert "duplicate" not in text.getvalue()
    assert summary.warehouse in text.getvalue().replace("\n", "")
