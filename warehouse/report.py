"""The audit report of a publication: one HTML page that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from warehouse.audit.result import AuditResult, ExpectationResult
from warehouse.files import write_text

REPORTS_FOLDER = "reports"

#: How many quarantined facts a page lists; all are counted.
MOST_QUARANTINED = 200

#: The fates in the order of their equation, the whole first; law 2 of the design.
RECORD_FATES = ("received", "mapped", "filtered", "rejected")
FACT_FATES = (
    "yielded",
    "accepted",
    "duplicate",
    "superseded",
    "conflict",
    "rejected",
    "quarantined",
    "erased",
)

Fates = Mapping[str, Mapping[str, Mapping[str, int]]]

_VERDICTS = {
    "passed": ("Published", "Every expectation holds."),
    "passed_with_warnings": ("Published, with warnings", "No critical expectation failed."),
    "withheld": ("Withheld", "A critical expectation failed. The publication before stays readable."),
}


@dataclass(frozen=True)
class FateTable:
    """Fates of records or facts by source; `balanced` says for each source that the parts make the whole."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...], bool], ...]


@dataclass(frozen=True)
class TableResults:
    """The results of one table's expectations, failed ones first."""

    table: str
    results: tuple[ExpectationResult, ...]
    failures: int
    warnings: int


def report_path(home: Path, publication_id: str) -> Path:
    """Give where the report of a publication is; raises `ValueError` for an id that is no file's name."""
    if not publication_id or not all(letter.isalnum() or letter in "-_" for letter in publication_id):
        raise ValueError(f"{publication_id!r} can't name a report")
    return home / REPORTS_FOLDER / f"{publication_id}.html"


def render_report(
    publication: Mapping[str, Any],
    audit: AuditResult,
    fates: Fates,
    quarantined: pl.DataFrame,
    path: Path,
    *,
    dead_letters: Mapping[str, int] | None = None,
) -> Path:
    """Write the report of a publication, or of one that was withheld, and give its path.

    Args:
        publication: `publication_id`, `published_at` (a time), and where known `facts`, `rules_hash`, `version`.
        audit: what the audit found.
        fates: source → `records` and `facts` → fate → count.
        quarantined: the facts set aside, as `quarantine` gives them.
        path: where to write, see `report_path`; it appears whole or not at all.
        dead_letters: step → open dead letters.
    """
    page = _template().render(
        publication=publication,
        published_at=_time(publication["published_at"]),
        verdict=audit.verdict,
        headline=_VERDICTS[audit.verdict],
        audit=audit,
        tables=_by_table(audit),
        records=_fate_table(fates, "records", RECORD_FATES),
        facts=_fate_table(fates, "facts", FACT_FATES),
        quarantined=quarantined.head(MOST_QUARANTINED).to_dicts(),
        quarantined_count=quarantined.height,
        dead_letters=dict(sorted((dead_letters or {}).items())),
        next_steps=_next_steps(audit, quarantined.height, sum((dead_letters or {}).values()), fates),
    )
    write_text(path, page)
    return path


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return environment.get_template("report.html.j2")


def _time(value: datetime | str) -> str:
    if isinstance(value, str):
        return value
    zoned = value if value.tzinfo else value.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _by_table(audit: AuditResult) -> list[TableResults]:
    grouped: dict[str, list[ExpectationResult]] = {}
    for result in audit.results:
        grouped.setdefault(result.table, []).append(result)
    tables = []
    for table, results in grouped.items():
        ordered = sorted(results, key=lambda result: (result.success, result.severity))
        failed = [result.severity for result in results if not result.success]
        tables.append(TableResults(table, tuple(ordered), failed.count("critical"), failed.count("warning")))
    return sorted(tables, key=lambda table: (-table.failures, -table.warnings))


def _fate_table(fates: Fates, part: str, order: tuple[str, ...]) -> FateTable:
    counted = {source: dict(parts.get(part, {})) for source, parts in sorted(fates.items())}
    whole, *_ = order
    others = sorted({fate for counts in counted.values() for fate in counts} - set(order))
    columns = (*order, *others)
    rows = []
    for source, counts in counted.items():
        if not counts:
            continue
        parts_sum = sum(count for fate, count in counts.items() if fate != whole)
        counts.setdefault(whole, parts_sum)
        values = tuple(counts.get(fate, 0) for fate in columns)
        rows.append((source, values, counts[whole] == parts_sum))
    return FateTable(columns, tuple(rows))


def _next_steps(
    audit: AuditResult, quarantined: int, dead_letters: int, fates: Fates
) -> list[tuple[str, str]]:
    """Give what to do next: a sentence and the command that helps, which may be empty."""
    steps = []
    if not audit.passed:
        steps.append(
            (
                "Look at the failed expectations below, mend the source or its mapping, and run again.",
                "milepost run",
            )
        )
    if dead_letters:
        steps.append(("See why inputs were rejected.", "milepost dead-letters list"))
        steps.append(("After a fix, take rejected inputs in again.", "milepost dead-letters replay"))
    if quarantined:
        steps.append(
            ("Mend the quarantined facts in their sources, or their mapping: a corrected fact comes in.", "")
        )
    if audit.passed and audit.warnings:
        steps.append(
            ("Look at the warnings below: the tables are published, and something in them is odd.", "")
        )
    unbalanced = any(
        not balanced
        for part, order in (("records", RECORD_FATES), ("facts", FACT_FATES))
        for _, _, balanced in _fate_table(fates, part, order).rows
    )
    if unbalanced:
        steps.append(
            ("The fates of a source don't add up to what came in. Please report it: this is a fault.", "")
        )
    return steps or [("Nothing needs doing. See what the warehouse says.", "milepost status")]
