"""The places that a test is run with: files of a home, or a database of its own in a private PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from schemas.vocabulary import load_vocabulary
from tests.postgresql import Cluster, cluster, needs_postgresql
from warehouse.places import Warehouse, places_of


@dataclass(frozen=True)
class Place:
    """A home, and the URL of its store where that is a database."""

    home: Path
    store_url: str | None = None


KINDS = ("embedded", pytest.param("postgresql", marks=needs_postgresql))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """Give a server that tests share: they must leave it running."""
    with cluster() as started:
        yield started


@pytest.fixture
def make_place(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Place]:
    """Give what makes empty places of a kind."""
    made = []

    def make(kind: str) -> Place:
        made.append(kind)
        home = tmp_path / f"{kind}-{len(made)}"
        home.mkdir()
        if kind == "embedded":
            return Place(home)
        server: Cluster = request.getfixturevalue("postgresql")
        return Place(home, server.create_database())

    return make


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, make_place: Callable[[str], Place]) -> Place:
    """Give empty places of each kind."""
    return make_place(request.param)


@contextmanager
def filled(place: Place, tables: Mapping[str, pl.DataFrame]) -> Iterator[Warehouse]:
    """Open a warehouse whose tables have these rows."""
    with places_of(place.home, place.store_url) as places:
        places.warehouse.create(load_vocabulary())
        with places.warehouse.transaction():
            for name, rows in tables.items():
                rows.write_parquet(place.home / f"{name}.parquet")
                places.warehouse.replace_rows(name, [place.home / f"{name}.parquet"])
        yield places.warehouse
