"""The places that a test is run with: files of a home, or a database of its own in a private PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.postgresql import Cluster, cluster, needs_postgresql


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
