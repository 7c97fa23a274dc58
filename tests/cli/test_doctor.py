"""The doctor finds what is missing or wrong, and says what helps."""

import json

import pytest
from typer.testing import CliRunner

from milepost.cli import app


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
