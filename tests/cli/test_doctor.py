"""The doctor finds what is missing or wrong, and says what helps."""

import json

import pytest
from typer.testing import CliRunner

from milepost.cli import app
from milepost.rules import Rules
from tests.pipelines.stitching import put, stitch_home
from tests.places import Place
from tests.postgresql import needs_postgresql
from tests.strategies import hostile_facts, to_frames


@pytest.fixture
def shop(tmp_path):
    assert CliRunner().invoke(app, ["init", str(tmp_path / "shop")]).exit_code == 0
    return tmp_path / "shop"


def doctor(shop, *more):
    arguments = ["doctor", "--project", str(shop), "--home", str(shop.parent / "home"), "--json", *more]
    result = CliRunner().invoke(app, arguments)
    findings = json.loads(result.stdout)
    return result.exit_code, [f for f in findings if f["status"] != "ok"]


def test_a_new_project_is_well(shop):
    assert doctor(shop) == (0, [])


def test_the_key_must_be_its_owners_alone(shop):
    home = shop.parent / "home"
    home.mkdir(mode=0o700)
    (home / "hashing.key").write_text("ab" * 32 + "\n")
    (home / "hashing.key").chmod(0o644)
    code, [finding] = doctor(shop)
    assert code == 1
    assert "chmod 600" in finding["found"]


def test_a_lost_key_is_told_where_there_is_a_warehouse(shop):
    home = shop.parent / "home"
    home.mkdir(mode=0o700)
    (home / "warehouse.duckdb").write_bytes(b"no database")
    code, findings = doctor(shop)
    assert code == 1
    assert {finding["check"] for finding in findings} == {"key", "warehouse.duckdb"}
    assert all(finding["remedy"] for finding in findings)


@pytest.fixture(params=["named by the environment", "named by a file"])
def named(request, monkeypatch, tmp_path):
    def name(url):
        if request.param == "named by the environment":
            monkeypatch.setenv("MILEPOST_STORE", url)
            return
        (tmp_path / "url").write_text(url)
        (tmp_path / "url").chmod(0o600)
        monkeypatch.setenv("MILEPOST_STORE_FILE", str(tmp_path / "url"))

    return name


class TestBesideADatabase:
    pytestmark = needs_postgresql

    def test_a_lost_key_is_told_where_the_database_holds_facts(self, shop, named, postgresql):
        place = Place(shop.parent / "home", postgresql.create_database())
        named(place.store_url)
        place.home.mkdir(mode=0o700)
        assert doctor(shop) == (0, [])
        put(place, to_frames(hostile_facts(3, 30)), 0)
        stitch_home(place, Rules())
        code, [finding] = doctor(shop)
        assert code == 1
        assert finding["check"] == "key"
        assert "database holds facts" in finding["found"]
        assert "restore" in finding["remedy"]

    def test_a_database_that_is_away_says_nothing_about_the_key(self, shop, monkeypatch):
        monkeypatch.setenv("MILEPOST_STORE", "postgresql://mila:s3cret@127.0.0.1:1/journeys")
        code, findings = doctor(shop)
        assert code == 1
        assert {one["check"]: one["status"] for one in findings} == {"store": "wrong", "key": "advice"}
        assert "s3cret" not in str(findings)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ("SELECT no_such_column AS kind FROM raw", "no_such_column"),
        ("SELECT now() AS occurred_at FROM raw", "now"),
        ("SELEKT", "shop.sql"),
    ],
)
def test_a_mapping_that_does_not_fit_is_named(shop, mapping, words):
    (shop / "mappings" / "shop.sql").write_text(mapping)
    code, [finding] = doctor(shop)
    assert code == 1
    assert finding["check"] == "source shop"
    assert words in finding["found"]


def test_a_wrong_setting_is_named(shop):
    (shop / "milepost.yaml").write_text("sources:\n  shop:\n    file: data\n")
    code, [finding] = doctor(shop)
    assert code == 1
    assert "sources.shop.file" in finding["found"]


def test_a_source_without_files_gets_advice(shop):
    (shop / "data" / "shop_2026.csv").unlink()
    code, [finding] = doctor(shop)
    assert code == 0
    assert finding["status"] == "advice"
