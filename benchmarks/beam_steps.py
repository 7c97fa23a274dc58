"""The steps of the plain Beam peer, in a module of their own so that workers import them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from benchmarks.beam_fold import CustomerFold, Row
from schemas.vocabulary import load_vocabulary

Links = tuple[str, tuple[str, ...]]


def first_delivery(keyed: tuple[str, Iterable[Row]]) -> Row:
    """Of the deliveries of one event, give the one received first."""
    return min(keyed[1], key=lambda event: event["received_at"])


class OwnerFirst(beam.DoFn):  # type: ignore[misc]
    """Pairs an event with its identifiers, the owner first."""

    def setup(self) -> None:
        """Load the ranks of namespaces."""
        self._rank = load_vocabulary().namespace_rank

    def process(self, event: Row) -> Iterator[tuple[tuple[str, ...], Row]]:
        """Give (identifiers in order of rank and value, event)."""

        def strength(identifier: str) -> tuple[int, str]:
            namespace, value = identifier.split(":", 1)
            return self._rank[namespace], value

        yield tuple(sorted(set(event["identifiers"]), key=strength)), event


class ComponentsFn(beam.CombineFn):  # type: ignore[misc]
    """Union-find over links; the root of a component is its best identifier."""

    def setup(self) -> None:
        """Load the ranks of namespaces."""
        self._rank = load_vocabulary().namespace_rank

    def _strength(self, identifier: str) -> tuple[int, str]:
        namespace, value = identifier.split(":", 1)
        return self._rank[namespace], value

    def _find(self, parents: dict[str, str], name: str) -> str:
        root = name
        while (parent := parents.setdefault(root, root)) != root:
            root = parent
        while name != root:
            parents[name], name = root, parents[name]
        return root

    def _join(self, parents: dict[str, str], a: str, b: str) -> None:
        first, second = self._find(parents, a), self._find(parents, b)
        if first != second:
            best, other = sorted((first, second), key=self._strength)
            parents[other] = best

    def create_accumulator(self) -> dict[str, str]:
        """Start with no identifier."""
        return {}

    def add_input(self, parents: dict[str, str], identifiers: tuple[str, ...]) -> dict[str, str]:
        """Join the identifiers of one event."""
        self._find(parents, identifiers[0])
        for other in identifiers[1:]:
            self._join(parents, identifiers[0], other)
        return parents

    def merge_accumulators(self, accumulators: Iterable[dict[str, str]]) -> dict[str, str]:
        """Join what several workers joined."""
        merged, *others = accumulators
        for parents in others:
            for name, parent in parents.items():
                self._join(merged, name, parent)
        return merged

    def extract_output(self, parents: dict[str, str]) -> dict[str, str]:
        """Give the best identifier of each identifier's component."""
        return {name: self._find(parents, name) for name in list(parents)}


def by_customer(keyed: tuple[tuple[str, ...], Row], customers: dict[str, str]) -> tuple[str, Row]:
    """Key an event by its customer's best identifier."""
    identifiers, event = keyed
    return customers[identifiers[0]], event


class FoldCustomers(beam.DoFn):  # type: ignore[misc]
    """Folds the grouped events of customers; rows come out under the names of their tables."""

    def setup(self) -> None:
        """Load the vocabulary."""
        self._fold = CustomerFold(load_vocabulary())

    def process(self, keyed: tuple[str, Iterable[Row]]) -> Iterator[Any]:
        """Give tagged rows of one customer."""
        for table, row in self._fold.rows(*keyed):
            yield beam.pvalue.TaggedOutput(table, row)


class KeepColumns(beam.DoFn):  # type: ignore[misc]
    """Keeps a table's columns, in order."""

    def __init__(self, columns: list[str]) -> None:
        self._columns = columns

    def process(self, row: Row) -> Iterator[Row]:
        """Give the row with the table's columns alone."""
        yield {name: row.get(name) for name in self._columns}
