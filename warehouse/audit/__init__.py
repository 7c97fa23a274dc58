"""Audits: expectations are data, counted over all rows, judged by Great Expectations; bad facts are quarantined."""

from warehouse.audit.checks import combine_violations, count_violations
from warehouse.audit.quarantine import quarantine
from warehouse.audit.result import AuditResult, ExpectationResult
from warehouse.audit.run import audit, audit_facts, judge, planned_expectations
from warehouse.audit.whole import count_whole_violations, planned_whole_laws

__all__ = [
    "AuditResult",
    "ExpectationResult",
    "audit",
    "audit_facts",
    "combine_violations",
    "count_violations",
    "count_whole_violations",
    "judge",
    "planned_expectations",
    "planned_whole_laws",
    "quarantine",
]
