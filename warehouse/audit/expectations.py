"""The expectations, as `schemas/expectations/*.yaml` declare them: data that every audit derives from."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from schemas.contracts import SCHEMA_FOLDER
from schemas.tables import Table, load_tables
from schemas.vocabulary import Vocabulary
from schemas.yaml_files import load_yaml

EXPECTATIONS_FOLDER = SCHEMA_FOLDER / "expectations"

Severity = Literal["critical", "warning"]
Check = Literal[
    "not_null",
    "between",
    "words",
    "in_set",
    "matches",
    "no_longer_than",
    "no_shorter_than",
    "beside",
    "not_before",
    "unique",
    "empty",
]


class Expectation(BaseModel):
    """What must hold for the rows of a table or type of fact; the columns that a check uses depend on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    table: str
    check: Check
    severity: Severity = "critical"
    doc: str
    column: str = ""
    columns: tuple[str, ...] = ()
    min: Any = None
    max: Any = None
    of: str = ""
    values: tuple[str, ...] = ()
    pattern: str = ""
    needs: str = ""
    than: str = ""
    show: str = ""

    def words(self, vocabulary: Vocabulary) -> list[str]:
        """Give the values that a `words` or `in_set` check lets pass."""
        return list(getattr(vocabulary, self.of)) if self.check == "words" else list(self.values)

    @property
    def reads(self) -> list[str]:
        """The columns that the check reads."""
        return [name for name in dict.fromkeys((self.column, *self.columns, self.needs, self.than)) if name]


class Law(BaseModel):
    """What must hold between rows or tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    table: str
    tables: tuple[str, ...]
    severity: Severity = "critical"
    doc: str
    whole: bool = False


def _declared(file: str) -> dict[str, tuple[Expectation, ...]]:
    return {
        table: tuple(Expectation(table=table, **entry) for entry in entries)
        for table, entries in load_yaml(EXPECTATIONS_FOLDER / file).items()
    }


def _of_keys(table: Table) -> tuple[Expectation, ...]:
    show = {"identities": "customer_id", "identity_links": "event_id", "profiles": "event_id"}.get(
        table.name, ""
    )
    present = (
        Expectation(
            name=f"{table.name}_{column}_present",
            table=table.name,
            check="not_null",
            column=column,
            show=show,
            doc=f"Every row has its {column}.",
        )
        for column in table.key
    )
    unique = Expectation(
        name=f"{table.name}_key_unique",
        table=table.name,
        check="unique",
        columns=table.key,
        show=show,
        doc=f"No two rows have the same {', '.join(table.key)}.",
    )
    return (*present, unique)


@lru_cache(maxsize=1)
def fact_expectations() -> dict[str, tuple[Expectation, ...]]:
    """Give the expectations of each type of fact."""
    return _declared("facts.yaml")


@lru_cache(maxsize=1)
def table_expectations() -> dict[str, tuple[Expectation, ...]]:
    """Give the expectations of each base table that the digest covers, those that follow from its key first."""
    declared = _declared("tables.yaml")
    return {
        name: (*_of_keys(table), *declared.get(name, ()))
        for name, table in load_tables().items()
        if table.digest
    }


@lru_cache(maxsize=1)
def load_laws() -> tuple[Law, ...]:
    """Give the laws between tables."""
    return tuple(Law(**entry) for entry in load_yaml(EXPECTATIONS_FOLDER / "laws.yaml"))
