"""A project says what it is, and a wrong one says which key of which file is wrong and what helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from milepost.project import ProjectError, load_project, mapping_version, rules_document, rules_hash
from schemas.vocabulary import load_vocabulary

PROJECT = """
rules: {half_life_days: 3}
phone_region: DE
sources:
  orders:
    files: data/*.csv
    mapping: orders.sql
    lookups: {products: products.csv}
    system: shop
"""


def make(folder: Path, text: str = PROJECT) -> Path:
    (folder / "milepost.yaml").write_text(text)
    (folder / "orders.sql").write_text("SELECT 1")
    (folder / "products.csv").write_text("a,b\n1,2\n")
    return folder


def test_a_project_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_HOME", str(tmp_path / "home"))
    project = load_project(make(tmp_path))
    assert project.home == tmp_path / "home"
    assert project.rules.half_life_days == 3
    assert project.source("orders").source_system == "shop"
    assert project.mapping_sql(project.source("orders")) == "SELECT 1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sources: {orders: {files: a}}", "sources.orders.mapping: missing"),
        ("sources: {orders: {files: a, mapping: b, lookup: {}}}", "sources.orders.lookup: no such setting"),
        ("sources: {orders: {files: a, mapping: b, fact: touch}}", "touchpoint"),
        ("sources: {orders: {files: a, mapping: b, zone: Mars}}", "Europe/Berlin"),
        ("sources: {orders: {files: a, mapping: b, csv: {delimiter: ab}}}", "sources.orders.csv.delimiter"),
        ("sources: {orders: {files: a, mapping: b, lookups: {raw: c}}}", "other than raw"),
        ("sources: {orders: 3}", "sources.orders"),
        ("sources: {1: {files: a}}", "sources.1"),
        ("rules: {half_life_days: -1}", "rules.half_life_days"),
        ("rules: {half_live_days: 1}", "half_life_days"),
        ("phone_region: de", "phone_region"),
        ("home: /tmp", "MILEPOST_HOME"),
        ("[", "not valid YAML"),
        ("3", "must hold"),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ProjectError) as error:
        load_project(make(tmp_path, text))
    assert "milepost.yaml" in str(error.value)
    assert said in str(error.value)


def test_a_missing_project_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="milepost init"):
        load_project(tmp_path)


def test_the_mapping_version_follows_all_that_decides_the_facts(tmp_path: Path) -> None:
    vocabulary = load_vocabulary()

    def version(key: str = "k") -> str:
        project = load_project(tmp_path, tmp_path / "home")
        return mapping_version(project.source("orders"), project, vocabulary, key)

    make(tmp_path)
    first = version()
    assert version() == first
    assert version("other key") != first
    (tmp_path / "products.csv").write_text("a,b\n1,3\n")
    assert version() != first
    make(tmp_path, PROJECT.replace("DE", "AT"))
    assert version() != first
    make(tmp_path, PROJECT.replace("data/*.csv", "elsewhere/*.csv"))
    assert version() == first, "where the files lie does not matter"
    (tmp_path / "orders.sql").unlink()
    with pytest.raises(ProjectError, match=r"sources\.orders\.mapping"):
        version()


def test_the_rules_hash_follows_the_settings(tmp_path: Path) -> None:
    vocabulary = load_vocabulary()
    one = load_project(make(tmp_path), tmp_path)
    two = load_project(make(tmp_path, PROJECT.replace("half_life_days: 3", "half_life_days: 4")), tmp_path)
    assert rules_hash(one, vocabulary, "k") != rules_hash(two, vocabulary, "k")
    assert rules_document(one, vocabulary, "k").mappings == rules_document(two, vocabulary, "k").mappings
