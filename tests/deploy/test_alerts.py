"""Alert rules: they parse, name only what the code tells, and say what to do in words that the program knows."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import typer
from prometheus_client import CollectorRegistry

from connectors.collector.metrics import Metrics
from connectors.collector.settings import CollectorSettings
from milepost import metrics
from milepost.cli import app
from milepost.stream_settings import StreamSettings
from tests.deploy.files import DEPLOY, load

RULES = [rule for group in load("prometheus/alerts.yaml")["groups"] for rule in group["rules"]]
PROMETHEUS = load("prometheus/prometheus.yaml")
PARTS = {
    target["labels"]["part"]: target["targets"]
    for job in PROMETHEUS["scrape_configs"]
    for target in job["static_configs"]
}
#: Labels that Prometheus adds.
GIVEN = {"job", "instance", "part"}
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


def _samples(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Give the names of a registry's samples, and the labels of each."""
    found = {}
    for collector in set(registry._collector_to_names):
        family = next(iter(collector.describe()))  # type: ignore[attr-defined]
        labels = set(getattr(collector, "_labelnames", ()))
        for ending in ENDINGS[family.type]:
            found[family.name + ending] = labels | ({"le"} if ending == "_bucket" else set())
    return found


def _told() -> dict[str, set[str]]:
    collector = Metrics()
    collector.watch(lambda: 0.0, 1.0, lambda: 0.0, lambda: 0.0)
    return {**_samples(metrics.REGISTRY), **_samples(collector.registry), "up": set()}


def _selectors(node: Any) -> Iterator[Any]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
        return
    for name in ("lhs", "rhs", "expr", "args", "vector_selector"):
        child = getattr(node, name, None)
        for one in child if isinstance(child, list) else [child]:
            if one is not None:
                yield from _selectors(one)


def _names(rules: list[dict[str, Any]]) -> list[str]:
    return [rule["alert"] for rule in rules]


@pytest.mark.parametrize("rule", RULES, ids=_names(RULES))
def test_an_alert_is_about_what_the_code_tells(rule: dict[str, Any]) -> None:
    told = _told()
    selectors = list(_selectors(promql_parser.parse(rule["expr"])))
    assert selectors
    for selector in selectors:
        assert selector.name in told, f"no such metric: {selector.name}"
        matched = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
        assert set(matched) - GIVEN <= told[selector.name]
        assert matched.get("part", "stitch") in PARTS


@pytest.mark.parametrize("rule", RULES, ids=_names(RULES))
def test_an_alert_says_how_bad_what_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "runbook"}
    runbook = rule["annotations"]["runbook"]
    for command in re.findall(r"`milepost ([^`]*)`", runbook):
        _assert_command(command.split())
    for part, key in re.findall(r"\b(stream|collector)\.(\w+)", runbook):
        assert key in (StreamSettings if part == "stream" else CollectorSettings).model_fields
    for name in re.findall(r"\bmilepost_\w+", runbook):
        assert name in _told()
    for other in re.findall(r"\bMilepost[A-Z]\w+", runbook):
        assert other in _names(RULES)


def _assert_command(words: list[str]) -> None:
    """Walk down the command line, and check the options of the command at the end."""
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_names_are_given_once() -> None:
    assert len(set(_names(RULES))) == len(RULES)


def test_every_alert_has_a_rule_test() -> None:
    tested = (Path(__file__).parent / "alerts_test.yaml").read_text(encoding="utf-8")
    assert [name for name in _names(RULES) if f'expr: ALERTS{{alertname="{name}"' not in tested] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", DEPLOY / "prometheus" / "prometheus.yaml"),
        ("check", "rules", DEPLOY / "prometheus" / "alerts.yaml"),
        ("test", "rules", Path(__file__).parent / "alerts_test.yaml"),
    ],
    ids=["config", "rules", "tests"],
)
@pytest.mark.system
@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: apt-get install prometheus")
def test_promtool_is_content(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
