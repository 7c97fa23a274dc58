"""`milepost journey`: the timeline of whom an identifier points at, and why these identifiers are one customer."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from connectors.keys import Identifiers, load_key
from milepost.cli import app
from milepost.cli.errors import CommandError
from milepost.cli.warehouse import open_warehouse
from tests.cli.publishing import VOCABULARY, publish, touch


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("journey") / "home"
    ann = Identifiers(VOCABULARY, load_key(home)).identifier("email:ann@example.com")
    publish(
        home,
        touch("01", "site_visit", 0, "cookie:a"),
        touch("02", "sign_up", 1, "cookie:a", ann),
        touch("03", "order", 2, ann, amount_micros=49_900_000, currency="EUR", campaign_id="spring [1]"),
        touch("04", "identify", 3, ann, "crm_contact:7"),
        touch("05", "identify", 4, ann, "crm_contact:8"),
    )
    return home


def run(home, *arguments):
    return CliRunner().invoke(app, ["journey", *arguments, "--home", str(home)])


def test_clear_text_finds_the_customer_whatever_its_spelling(home):
    by_cookie = run(home, "cookie:a")
    assert by_cookie.exit_code == 0
    assert run(home, "email: Ann@Example.COM ").output == by_cookie.output
    printed = " ".join(by_cookie.output.split())
    for words in ("status customer", "booked EUR 49.90", "conversion", "order", "spring", "[1]]"):
        assert words in printed
    assert "ann@example.com" not in by_cookie.output


def test_it_says_why_identifiers_are_one_customer_and_why_others_are_not(home):
    output = run(home, "cookie:a").output
    assert "One customer, because" in output
    assert "cookie:a, first seen 2026-01-02 00:00 (sign_up of shop)" in output
    assert "two values of crm_contact" in output


def test_an_id_that_was_handed_out_once_is_found(home):
    found = json.loads(run(home, "cookie:a", "--json").output)
    with open_warehouse(home) as warehouse:
        aliases = warehouse.rows("SELECT old_customer_id FROM journey.customer_aliases")
    assert aliases
    for alias in aliases:
        again = json.loads(run(home, alias["old_customer_id"], "--json").output)
        assert again["customer_id"] == found["customer_id"]


def test_json_has_everything(home):
    found = json.loads(run(home, "cookie:a", "--json").output)
    assert found["journey"]["booked_micros"] == 49_900_000
    assert [touch["kind"] for touch in found["touches"]][:3] == ["site_visit", "sign_up", "order"]
    assert {link["status"] for link in found["links"]} == {"joined", "refused"}


@pytest.mark.parametrize(
    ("identifier", "words"),
    [
        ("cookie:nobody", "nobody is known"),
        ("pager:12", "no identifier"),
        ("ann", "no identifier"),
        ("cookie:null", "blocked"),
        ("email:not-an-address", "not one at all"),
        ("0" * 32, "nobody is known"),
    ],
)
def test_a_mistake_gets_a_message_and_a_remedy(home, identifier, words):
    result = run(home, identifier)
    assert isinstance(result.exception, CommandError)
    assert words in str(result.exception)
    assert result.exception.remedy


def test_without_a_key_no_new_one_is_made(home, tmp_path):
    shutil.copy(home / "warehouse.duckdb", tmp_path)
    result = run(tmp_path, "email:ann@example.com")
    assert "no key" in str(result.exception)
    assert not (tmp_path / "hashing.key").exists()


def test_without_a_warehouse_it_says_how_to_get_one(tmp_path):
    result = run(tmp_path / "nothing", "cookie:a")
    assert "milepost run" in result.exception.remedy
