"""A session with PostgreSQL tells trouble that passes from what running again does not mend."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import psycopg
import pytest

from tests.postgresql import Cluster, cluster, needs_postgresql
from warehouse.postgres.session import DatabaseAwayError, DatabaseError, Session

pytestmark = needs_postgresql


@pytest.fixture
def session(postgresql: Cluster) -> Iterator[Session]:
    opened = Session(postgresql.create_database(), "test")
    yield opened
    opened.close()


def refused(session: Session, statement: str) -> type[DatabaseError]:
    with pytest.raises(DatabaseError) as error:
        session.rows(statement)
    return type(error.value)


def raising(state: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$"


@pytest.mark.parametrize("state", ["08006", "57P01", "53100", "53300", "40001", "40P01"])
def test_what_passes_is_told_by_its_state(session: Session, state: str) -> None:
    with pytest.raises(DatabaseAwayError, match="when it can be reached"):
        session.execute(raising(state))


@pytest.mark.parametrize("state", ["54000", "22012", "23505", "42501"])
def test_what_stays_is_told_by_its_state(session: Session, state: str) -> None:
    with pytest.raises(DatabaseError, match="does not help") as error:
        session.execute(raising(state))
    assert type(error.value) is DatabaseError


def test_rows_that_fit_nowhere_are_no_passing_trouble(session: Session) -> None:
    with pytest.raises(DatabaseError) as error, session.transaction():
        session.insert("public", "nowhere", pl.DataFrame({"a": ["x"]}))
    assert type(error.value) is DatabaseError
    assert session.rows("SELECT 1") == [(1,)]


def test_a_session_that_was_ended_is_away(session: Session, postgresql: Cluster) -> None:
    ((process,),) = session.rows("SELECT pg_backend_pid()")
    with psycopg.connect(postgresql.url(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [process])
    assert [refused(session, "SELECT 1") for _ in range(2)] == [DatabaseAwayError] * 2


def test_a_server_that_was_killed_is_away() -> None:
    with cluster() as mortal:
        session = Session(mortal.url(), "test")
        mortal.kill()
        with pytest.raises(DatabaseAwayError), session.transaction():
            session.insert("public", "anything", pl.DataFrame({"a": ["x"]}))
        with pytest.raises(DatabaseAwayError):
            Session(mortal.url(), "test")
        session.close()
        mortal.start()
