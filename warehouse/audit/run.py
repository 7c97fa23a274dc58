"""Run an audit: count violations over all rows, and let Great Expectations judge."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import polars as pl

from schemas.vocabulary import Vocabulary, load_vocabulary
from warehouse.audit.checks import count_violations
from warehouse.audit.expectations import Expectation, fact_expectations, load_laws, table_expectations
from warehouse.audit.result import COMPLETE, AuditResult, ExpectationResult

#: How many rows of a table a full audit hands to Great Expectations; the vectorised pass looks at all of them.
FULL_ROWS = 20_000


def planned_expectations(tables: Mapping[str, pl.DataFrame], *, whole: bool = True) -> list[str]:
    """Give the names of all expectations and laws that an audit of these tables asks."""
    rows = [rule.name for name, rules in table_expectations().items() if name in tables for rule in rules]
    laws = [
        law.name
        for law in load_laws()
        if all(name in tables for name in law.tables) and (whole or not law.whole)
    ]
    return rows + laws


def judge(
    violations: pl.DataFrame,
    planned: list[str],
    *,
    failed_rows: Mapping[str, int] | None = None,
    full: bool = False,
) -> AuditResult:
    """Let Great Expectations judge counted violations, and give the result of every planned expectation.

    `violations` is what `count_violations` (or `combine_violations`) gives; `failed_rows` is what suites over rows
    found unexpected. An expectation that was planned and not counted fails the audit.
    """
    from warehouse.audit import suites

    # Great Expectations takes a run's name that looks like a number for a time.
    run_name = f"audit-{uuid.uuid4().hex}x"
    verdicts = suites.run_violations(violations, planned, run_name)
    results = []
    for row in violations.iter_rows(named=True):
        count = max(row["violations"], (failed_rows or {}).get(row["expectation"], 0))
        doubted = row["violations"] > 0 and not verdicts[row["severity"]]
        results.append(
            ExpectationResult(
                expectation=row["expectation"], table=row["table"], severity=row["severity"], doc=row["doc"],
                success=not doubted and count == 0, rows=row["rows"], unexpected_count=count,
                examples=tuple(example or "(none)" for example in row["examples"]),
            )
        )  # fmt: skip
    missing = sorted(set(planned) - set(violations["expectation"]))
    # A check of Great Expectations that breaks down blames no row: then the audit itself has failed.
    blamed = set(violations.filter(pl.col("violations") > 0)["severity"])
    broken = [name for name in ("critical", "warning") if not verdicts[name] and name not in blamed]
    results.append(
        ExpectationResult(
            expectation=COMPLETE, table="(all)", severity="critical",
            doc="Every planned expectation was counted exactly once.", success=verdicts[COMPLETE] and not broken,
            rows=len(planned), unexpected_count=len(missing), examples=tuple(missing[:20]),
        )
    )  # fmt: skip
    return AuditResult(run_name=run_name, full=full, results=tuple(results))


def audit(
    tables: Mapping[str, pl.DataFrame],
    *,
    full: bool = False,
    whole: bool = True,
    vocabulary: Vocabulary | None = None,
) -> AuditResult:
    """Audit staged tables, frames by table name.

    All rows are counted in one vectorised pass; `full` also runs each table's suite in Great Expectations over up to
    20,000 of its rows. `whole` says that the frames hold all rows of the warehouse and not those of some customers.
    """
    words = vocabulary or load_vocabulary()
    violations = count_violations(tables, whole=whole, vocabulary=words)
    failed = _audit_rows(tables, table_expectations(), words) if full else {}
    return judge(violations, planned_expectations(tables, whole=whole), failed_rows=failed, full=full)


def audit_facts(facts: Mapping[str, pl.DataFrame], vocabulary: Vocabulary | None = None) -> dict[str, int]:
    """Run the suites of the types of facts over up to 20,000 rows each; give unexpected rows by expectation."""
    return _audit_rows(facts, fact_expectations(), vocabulary or load_vocabulary())


def _audit_rows(
    frames: Mapping[str, pl.DataFrame],
    declared: Mapping[str, tuple[Expectation, ...]],
    vocabulary: Vocabulary,
) -> dict[str, int]:
    from warehouse.audit import suites

    failed: dict[str, int] = {}
    for name, expectations in declared.items():
        if name in frames and not frames[name].is_empty():
            rows = frames[name].head(FULL_ROWS)
            run_name = f"rows-{name}-{uuid.uuid4().hex}x"
            failed |= suites.run_rows(name, rows, expectations, vocabulary, run_name)
    return failed
