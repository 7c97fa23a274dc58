"""What an audit found."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict

from warehouse.audit.expectations import Severity

#: The expectation that every planned one was counted; its rows are how many were planned.
COMPLETE = "audit_complete"


class ExpectationResult(BaseModel):
    """The result of one expectation or law over the audited rows; examples are ids, at most 20."""

    model_config = ConfigDict(frozen=True)
    expectation: str
    table: str
    severity: Severity
    doc: str
    success: bool
    rows: int
    unexpected_count: int
    examples: tuple[str, ...] = ()


class AuditResult(BaseModel):
    """All results of an audit. The severity of what failed decides, not Great Expectations' own `success`."""

    model_config = ConfigDict(frozen=True)
    run_name: str
    full: bool
    results: tuple[ExpectationResult, ...]

    @property
    def failures(self) -> list[ExpectationResult]:
        """The critical expectations that failed."""
        return [result for result in self.results if not result.success and result.severity == "critical"]

    @property
    def warnings(self) -> list[ExpectationResult]:
        """The expectations of severity `warning` that failed."""
        return [result for result in self.results if not result.success and result.severity == "warning"]

    @property
    def passed(self) -> bool:
        """No critical expectation failed."""
        return not self.failures

    @property
    def verdict(self) -> str:
        """`passed`, `passed_with_warnings` or `withheld`, as `publications.audit_result` says it."""
        if not self.passed:
            return "withheld"
        return "passed_with_warnings" if self.warnings else "passed"

    def to_json(self, *, whole: bool = True) -> str:
        """Give the results as JSON, for `publications.audit`.

        Unless `whole`, these are the failed ones and the one that says how many expectations were asked: thirty
        kilobytes with every batch of a stream would soon be most of the warehouse.
        """
        kept = [one for one in self.results if whole or not one.success or one.expectation == COMPLETE]
        return json.dumps([one.model_dump(mode="json") for one in kept], separators=(",", ":"))

    def explain(self) -> str:
        """Say in a few lines why the publication is withheld; empty where it is not."""
        return "\n".join(
            f"{result.table}: {result.expectation} failed for {result.unexpected_count} of {result.rows} rows"
            f" ({result.doc}) {', '.join(result.examples[:3])}".rstrip()
            for result in self.failures
        )
