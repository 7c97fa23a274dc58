"""The audit in Great Expectations: suites that derive from the declared expectations, and checkpoints that run them.

The steady state is one small checkpoint over the table of counted violations; a full audit also runs each
table's suite over its rows, a bounded number of them. Contexts, suites and checkpoints are made once in a process.
Importing this module imports Great Expectations, which takes seconds: only `warehouse.audit.run` does, where it audits.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"

import great_expectations as gx
import great_expectations.expectations as gxe
import polars as pl
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.conditions import Column

from schemas.vocabulary import Vocabulary
from warehouse.audit.expectations import Check, Expectation
from warehouse.audit.result import COMPLETE

if TYPE_CHECKING:
    import pandas as pd


@lru_cache(maxsize=1)
def _context() -> Any:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    context.data_sources.add_pandas("staged")
    return context


def _day(value: Any) -> Any:
    """Give a bound as pandas compares it: days as times."""
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else value


def _unique(rule: Expectation, _: Vocabulary, common: dict[str, Any]) -> Any:
    if len(rule.columns) == 1:
        return gxe.ExpectColumnValuesToBeUnique(column=rule.columns[0], **common)
    return gxe.ExpectCompoundColumnsToBeUnique(column_list=list(rule.columns), **common)


def _in_set(rule: Expectation, vocabulary: Vocabulary, common: dict[str, Any]) -> Any:
    return gxe.ExpectColumnValuesToBeInSet(column=rule.column, value_set=rule.words(vocabulary), **common)


def _length(rule: Expectation, _: Vocabulary, common: dict[str, Any]) -> Any:
    return gxe.ExpectColumnValueLengthsToBeBetween(
        column=rule.column, min_value=rule.min, max_value=rule.max, **common
    )


#: Each check, as Great Expectations says it.
_IN_GX: dict[Check, Callable[[Expectation, Vocabulary, dict[str, Any]], Any]] = {
    "not_null": lambda rule, _, common: gxe.ExpectColumnValuesToNotBeNull(column=rule.column, **common),
    "between": lambda rule, _, common: gxe.ExpectColumnValuesToBeBetween(
        column=rule.column, min_value=_day(rule.min), max_value=_day(rule.max), **common
    ),
    "words": _in_set,
    "in_set": _in_set,
    "matches": lambda rule, _, common: gxe.ExpectColumnValuesToMatchRegex(
        column=rule.column, regex=rule.pattern, **common
    ),
    "no_longer_than": _length,
    "no_shorter_than": _length,
    "beside": lambda rule, _, common: gxe.ExpectColumnValuesToNotBeNull(
        column=rule.needs, row_condition=Column(rule.column).is_not_null(), **common
    ),
    "not_before": lambda rule, _, common: gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=rule.column,
        column_B=rule.than,
        or_equal=True,
        ignore_row_if="either_value_is_missing",
        **common,
    ),
    "unique": _unique,
    "empty": lambda _, __, common: gxe.ExpectTableRowCountToEqual(value=0, **common),
}


def to_gx(rule: Expectation, vocabulary: Vocabulary) -> Any:
    """Give the expectation of Great Expectations that says the same."""
    common = {"severity": rule.severity, "meta": {"expectation": rule.name}}
    return _IN_GX[rule.check](rule, vocabulary, common)


def _checkpoint(name: str, expectations: list[Any], result_format: str) -> Any:
    context = _context()
    asset = context.data_sources.get("staged").add_dataframe_asset(name)
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(
            name=name, data=asset.add_batch_definition_whole_dataframe("rows"), suite=suite
        )
    )
    return context.checkpoints.add(
        gx.Checkpoint(name=name, validation_definitions=[definition], result_format=result_format)
    )


@lru_cache(maxsize=1)
def _violations_checkpoint() -> Any:
    none = {"column": "violations", "value_set": [0]}
    severity = Column("severity")
    return _checkpoint(
        "violations",
        [
            gxe.ExpectColumnValuesToBeInSet(
                **none,
                row_condition=severity == "critical",
                severity="critical",
                meta={"expectation": "critical"},
            ),
            gxe.ExpectColumnValuesToBeInSet(
                **none,
                row_condition=severity == "warning",
                severity="warning",
                meta={"expectation": "warning"},
            ),
            gxe.ExpectColumnValuesToBeInSet(
                column="counted", value_set=[True], severity="critical", meta={"expectation": COMPLETE}
            ),
            gxe.ExpectColumnValuesToBeUnique(
                column="expectation", severity="critical", meta={"expectation": COMPLETE}
            ),
        ],
        "BASIC",
    )


@lru_cache(maxsize=64)
def _rows_checkpoint(name: str, expectations: tuple[Expectation, ...], vocabulary_json: str) -> Any:
    vocabulary = Vocabulary.model_validate_json(vocabulary_json)
    suffix = abs(hash((expectations, vocabulary_json)))
    return _checkpoint(f"{name}-{suffix}", [to_gx(rule, vocabulary) for rule in expectations], "BASIC")


def _run(checkpoint: Any, frame: pd.DataFrame, run_name: str) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = checkpoint.run(
            batch_parameters={"dataframe": frame}, run_id=gx.RunIdentifier(run_name=run_name)
        )
    return [result for run in outcome.run_results.values() for result in run.results]


def run_violations(violations: pl.DataFrame, planned: list[str], run_name: str) -> dict[str, bool]:
    """Run the small checkpoint over counted violations.

    `planned` are the names that must have been counted. Gives success by `critical`, `warning` and `audit_complete`.
    """
    frame = pl.DataFrame({"expectation": planned}).join(
        violations, on="expectation", how="full", coalesce=True
    )
    frame = frame.select(
        "expectation",
        pl.col("severity").fill_null("critical"),
        pl.col("violations").fill_null(0),
        counted=pl.col("violations").is_not_null() & pl.col("expectation").is_in(planned),
    )
    verdicts: dict[str, bool] = {}
    for result in _run(_violations_checkpoint(), frame.to_pandas(), run_name):
        name = result.expectation_config.meta["expectation"]
        verdicts[name] = verdicts.get(name, True) and bool(result.success)
    return verdicts


def _as_pandas(frame: pl.DataFrame, expectations: tuple[Expectation, ...]) -> pd.DataFrame:
    names = list(dict.fromkeys(name for rule in expectations for name in rule.reads)) or frame.columns[:1]
    plain = frame.select(names).with_columns(
        *(pl.col(n).dt.replace_time_zone(None) for n in names if isinstance(frame.schema[n], pl.Datetime)),
        *(pl.col(n).cast(pl.Datetime("us")) for n in names if frame.schema[n] == pl.Date()),
        *(pl.col(n).cast(pl.Float64) for n in names if isinstance(frame.schema[n], pl.Decimal)),
    )
    return plain.to_pandas()


def run_rows(
    name: str,
    frame: pl.DataFrame,
    expectations: tuple[Expectation, ...],
    vocabulary: Vocabulary,
    run_name: str,
) -> dict[str, int]:
    """Run a suite over rows, and give for each expectation that failed the number of unexpected rows (at least 1)."""
    checkpoint = _rows_checkpoint(name, expectations, vocabulary.model_dump_json())
    failed: dict[str, int] = {}
    for result in _run(checkpoint, _as_pandas(frame, expectations), run_name):
        if not result.success:
            detail: Mapping[str, Any] = result.result or {}
            failed[result.expectation_config.meta["expectation"]] = int(detail.get("unexpected_count") or 1)
    return failed
