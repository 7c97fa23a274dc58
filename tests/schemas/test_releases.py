"""Releases: today's contracts fit every one, an incompatible change is seen, and words come from the vocabulary."""

import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from milepost.cli import app
from schemas import releases, sync
from schemas.contracts import SCHEMA_FOLDER


@pytest.fixture
def today(tmp_path):
    """A copy of the contracts that a test may change."""
    folder = tmp_path / "schemas"
    folder.mkdir()
    for path in [*SCHEMA_FOLDER.glob("*.avsc"), *SCHEMA_FOLDER.glob("*.yaml")]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def released(today, tmp_path):
    """A release of the contracts as they are."""
    folder = tmp_path / "released"
    releases.freeze_release("0.1.0", today, folder)
    return folder


def change(path, edit):
    document = json.loads(path.read_text()) if path.suffix == ".avsc" else yaml.safe_load(path.read_text())
    edit(document)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def fields(schema):
    return {field["name"]: field for field in schema["fields"]}


def rules(today, released):
    return [
        (fault.rule, fault.schema, fault.field, fault.direction)
        for fault in releases.check_release("0.1.0", today, released)
    ]


def test_todays_contracts_fit_every_release():
    for version in releases.released_versions():
        assert releases.check_release(version) == []


def test_the_same_contracts_fit(today, released):
    assert rules(today, released) == []
    assert releases.released_versions(released) == ["0.1.0"]


def test_a_changed_type_is_seen_both_ways(today, released):
    change(today / "spend.avsc", lambda schema: fields(schema)["amount_micros"].update(type="string"))
    assert rules(today, released) == [
        ("type_changed", "spend", "amount_micros", "backward"),
        ("type_changed", "spend", "amount_micros", "forward"),
    ]


def test_a_field_without_default_is_seen(today, released):
    change(
        today / "touchpoint.avsc", lambda schema: schema["fields"].append({"name": "mood", "type": "string"})
    )
    assert rules(today, released) == [("missing_default", "touchpoint", "mood", "backward")]


def test_a_field_that_every_fact_has_cannot_go(today, released):
    change(today / "touchpoint.avsc", lambda schema: schema["fields"].remove(fields(schema)["occurred_at"]))
    assert rules(today, released) == [("missing_default", "touchpoint", "occurred_at", "forward")]


def test_an_optional_field_may_come(today, released):
    optional = {"name": "mood", "type": ["null", "string"], "default": None}
    change(today / "touchpoint.avsc", lambda schema: schema["fields"].append(optional))
    assert rules(today, released) == []


def test_a_schema_cannot_go(today, released):
    (today / "consent.avsc").unlink()
    assert rules(today, released) == [("schema_removed", "consent", "", "backward")]


def test_a_word_cannot_go_but_one_may_come(today, released):
    def edit(vocabulary):
        vocabulary["kinds"]["smoke_signal"] = dict(vocabulary["kinds"]["call"])
        del vocabulary["kinds"]["webinar_attended"]

    change(today / "vocabulary.yaml", edit)
    assert sync.sync_schemas(today) == ["touchpoint"]
    assert rules(today, released) == [("word_removed", "vocabulary", "kinds", "backward")]


def test_stages_keep_their_order(today, released):
    text = (today / "vocabulary.yaml").read_text()
    text = text.replace("  retain: Retain\n  grow: Grow\n", "  grow: Grow\n  retain: Retain\n")
    (today / "vocabulary.yaml").write_text(text)
    assert rules(today, released) == [("order_changed", "vocabulary", "stages", "backward")]


def test_tables_keep_their_columns_types_and_keys(today, released):
    def edit(tables):
        del tables["erasures"]
        del tables["journeys"]["columns"]["status"]
        tables["journeys"]["columns"]["touches"][0] = "text"
        tables["credits"]["key"].remove("model")
        tables["accounts"]["columns"]["mood"] = ["text", "How they feel."]

    change(today / "tables.yaml", edit)
    assert {(rule, place) for rule, _, place, _ in rules(today, released)} == {
        ("table_removed", "erasures"),
        ("column_removed", "journeys.status"),
        ("column_type_changed", "journeys.touches"),
        ("key_changed", "credits"),
    }


def test_a_release_never_changes(today, released):
    releases.freeze_release("0.1.0", today, released)
    change(today / "spend.avsc", lambda schema: schema.update(doc="Another text."))
    with pytest.raises(releases.ReleaseExistsError, match=r"spend\.avsc"):
        releases.freeze_release("0.1.0", today, released)


def test_enums_are_those_of_the_vocabulary():
    assert sync.stale_schemas() == {}


def test_sync_brings_a_new_word_into_every_schema_that_uses_it(today):
    change(today / "vocabulary.yaml", lambda vocabulary: vocabulary["channels"].update(pigeon="Pigeon post"))
    assert sync.sync_schemas(today) == ["campaign", "exposure", "spend", "touchpoint"]
    assert sync.sync_schemas(today) == []
    assert "pigeon" in (today / "spend.avsc").read_text()


def test_the_command_fails_and_names_schema_field_rule_and_remedy(today, released, monkeypatch):
    change(today / "spend.avsc", lambda schema: fields(schema)["day"].update(type="long"))
    check = releases.check_release
    monkeypatch.setattr(releases, "released_versions", lambda: ["0.1.0"])
    monkeypatch.setattr(releases, "check_release", lambda version: check(version, today, released))
    result = CliRunner().invoke(app, ["schema", "check"])
    assert result.exit_code == 1
    for word in ("spend.day", "type_changed", "backward", "Remedy: keep the old type"):
        assert word in result.output
    as_json = CliRunner().invoke(app, ["schema", "check", "--json"])
    assert json.loads(as_json.output)["faults"][0]["field"] == "day"
