"""The audit report: everything that a reader needs, from no network, with whatever names say escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.warehouse.filling import AS_OF
from warehouse.audit.quarantine import QUARANTINED_SCHEMA
from warehouse.audit.result import AuditResult, ExpectationResult
from warehouse.report import render_report, report_path

EVIL = '<script>alert("x")</script>&amp;'
PUBLICATION = {
    "publication_id": "p-1",
    "published_at": AS_OF,
    "facts": 12345,
    "rules_hash": "ab" * 32,
    "version": "0.1.0",
}
FATES = {
    "shop": {
        "records": {"received": 10, "mapped": 7, "filtered": 2, "rejected": 1},
        "facts": {"yielded": 7, "accepted": 5, "duplicate": 1, "quarantined": 1},
    },
    EVIL: {"records": {"received": 3, "mapped": 1}},
}
NOTHING = pl.DataFrame(schema=QUARANTINED_SCHEMA)


def result(name: str, success: bool, severity: Any = "critical", **more: Any) -> ExpectationResult:
    values = {
        "table": "touchpoints",
        "doc": f"{name} holds.",
        "rows": 1000,
        "unexpected_count": 0 if success else 3,
    }
    return ExpectationResult(expectation=name, success=success, severity=severity, **(values | more))


def audited(*results: ExpectationResult) -> AuditResult:
    return AuditResult(run_name="r", full=False, results=results)


def quarantined(count: int, **values: str) -> pl.DataFrame:
    row = {
        "fact_type": "touchpoint",
        "event_id": "e1",
        "source": "shop",
        "expectation": "x",
        "reason": "Not so.",
    }
    return pl.DataFrame([row | values] * count, schema=QUARANTINED_SCHEMA)


def page(
    tmp_path: Path, audit: AuditResult, fates: Any = FATES, aside: pl.DataFrame = NOTHING, **more: Any
) -> str:
    path = render_report(PUBLICATION, audit, fates, aside, report_path(tmp_path, "p-1"), **more)
    assert path == tmp_path / "reports" / "p-1.html"
    assert [file.name for file in path.parent.iterdir()] == ["p-1.html"]
    return path.read_text(encoding="utf-8")


def text(html: str) -> str:
    """Give what a reader reads."""

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.parts: list[str] = []
            self.hidden = False

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.hidden = tag == "style"

        def handle_data(self, data: str) -> None:
            if not self.hidden:
                self.parts.append(data)

        def handle_endtag(self, tag: str) -> None:
            self.hidden = False

    reader = Reader()
    reader.feed(html)
    return " ".join("".join(" ".join(reader.parts).split("\N{NARROW NO-BREAK SPACE}")).split())


def test_a_good_publication(tmp_path: Path) -> None:
    seen = text(page(tmp_path, audited(result("a", True)), {"shop": FATES["shop"]}))
    for part in ("Published Every expectation holds.", "p-1", "2026-04-15 12:00:00 UTC", "12345", "0.1.0"):
        assert part in seen
    assert "Nothing needs doing. See what the warehouse says. milepost status" in seen
    assert "shop 10 7 2 1 yes" in seen
    assert "shop 7 5 1 0 0 0 1 0 yes" in seen
    assert "1 asked, 0 critical failed, 0 warnings" in seen


def test_a_withheld_one_says_why_and_what_to_do(tmp_path: Path) -> None:
    failed = result("sums", False, examples=("c1", "c2"))
    seen = text(page(tmp_path, audited(result("a", True), failed), dead_letters={"map": 4}))
    assert "Withheld A critical expectation failed. The publication before stays readable." in seen
    assert "sums holds. sums Such as: c1 , c2 critical 1000 3 failed" in seen
    assert seen.index("sums holds.") < seen.index("a holds.")
    assert "mend the source or its mapping, and run again. milepost run" in seen
    assert "4 at step map" in seen
    assert "milepost dead-letters replay" in seen


def test_a_warning_is_shown_and_withholds_nothing(tmp_path: Path) -> None:
    seen = text(page(tmp_path, audited(result("odd", False, "warning"))))
    assert "Published, with warnings" in seen
    assert "Look at the warnings below" in seen


def test_fates_that_do_not_add_up_are_said_aloud(tmp_path: Path) -> None:
    seen = text(page(tmp_path, audited(result("a", True))))
    assert "3 1 0 0 no" in seen
    assert "this is a fault" in seen


def test_a_fate_that_the_page_does_not_know_is_shown_too(tmp_path: Path) -> None:
    fates = {"shop": {"facts": {"yielded": 3, "accepted": 1, "parked": 2}}}
    seen = text(page(tmp_path, audited(result("a", True)), fates))
    assert "parked Adds up shop 3 1 0 0 0 0 0 0 2 yes" in seen


def test_whatever_names_say_is_text(tmp_path: Path) -> None:
    evil = result(EVIL, False, table=EVIL, doc=EVIL, examples=(EVIL,))
    aside = quarantined(1, event_id=EVIL, source=EVIL, reason=EVIL)
    html = page(tmp_path, audited(evil), {EVIL: FATES["shop"]}, aside, dead_letters={EVIL: 1})
    assert "<script" not in html
    assert text(html).count(EVIL) >= 8


def test_it_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    html = page(tmp_path, audited(result("a", True)), aside=quarantined(1))
    assert not re.search(r"https?://|//[a-z]|url\(|@import|<script|<img|<link|\son\w+=", html)
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html


def test_many_quarantined_facts_are_counted_and_some_are_listed(tmp_path: Path) -> None:
    html = page(tmp_path, audited(result("a", True)), aside=quarantined(5000))
    assert "5000 failed an expectation about one row and stand aside; the first 200 are listed." in text(html)
    assert len(html) < 200_000


def test_an_empty_run_says_so(tmp_path: Path) -> None:
    seen = text(page(tmp_path, audited(), {}))
    assert seen.count("Nothing new came in.") == 2
    assert "None is open." in seen


@pytest.mark.parametrize("publication_id", ["", "../p", "a/b", "p 1", ".."])
def test_an_id_that_is_no_file_name_is_refused(tmp_path: Path, publication_id: str) -> None:
    with pytest.raises(ValueError, match="can't name a report"):
        report_path(tmp_path, publication_id)
