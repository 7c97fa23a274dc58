"""A session with the database: statements, rows in and out as Arrow, one transaction at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi as driver  # type: ignore[import-untyped]
import polars as pl
import pyarrow as pa

from warehouse.definitions import in_types, without_time_zones
from warehouse.postgres.url import masked, with_timeouts, without_password

#: The oldest server that lets go of a transaction whose client has died.
OLDEST_SERVER = 14

SQL_TYPES = {
    pl.String(): 'text COLLATE "C"',
    pl.Int64(): "bigint",
    pl.Boolean(): "boolean",
    pl.Date(): "date",
    # There are no unsigned integers: the same 64 bits stand as signed ones.
    pl.UInt64(): "bigint",
    pl.Datetime("us", "UTC"): "timestamp",
    pl.Datetime("us"): "timestamp",
    pl.List(pl.String()): 'text[] COLLATE "C"',
    pl.Decimal(18, 12): "numeric(18,12)",
    pl.Decimal(38, 12): "numeric(38,12)",
}

#: Temporaries have no statistics, and the planner would read history as a whole to join them: few rows are looked up
#: among many, always by an index. Compiling such statements costs more than running them.
_SETTINGS = {
    "TimeZone": "UTC",
    "client_min_messages": "warning",
    "jit": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "random_page_cost": "1.1",
    "work_mem": "64MB",
    "client_connection_check_interval": "1s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60s",
}


#: What passes by itself, by the beginning of its SQLSTATE: a broken connection, a server that is stopped or started, no
#: room or too many sessions, and transactions that got into each other's way.
_PASSING = ("08", "57P", "53", "40")


class DatabaseError(RuntimeError):
    """The database can't be used; the message says why and what helps, without the password."""


class DatabaseAwayError(DatabaseError):
    """The database can't be used just now: the same may well succeed later."""


class Session:
    """A connection to a PostgreSQL database."""

    def __init__(self, url: str, application: str) -> None:
        """Connect; `application` is what others see of this session, at most 63 bytes.

        Raises `DatabaseAwayError` where the server can't be reached or doesn't let in, `DatabaseError` where it is too
        old or holds texts in another encoding.
        """
        self.name = masked(url)
        try:
            self._connection = driver.connect(with_timeouts(url), autocommit=True)
        except adbc_driver_manager.Error as error:
            said = without_password(str(error), url).strip()
            raise DatabaseAwayError(
                f"The store {self.name} can't be opened: {said}. Check that the server runs, and user, password "
                "and database."
            ) from None
        self._cursor = self._connection.cursor()
        self._depth = 0
        self._temporaries: set[str] = set()
        self._filled: set[str] = set()
        try:
            self._check_server()
            settings = {**_SETTINGS, "application_name": application}
            listed = ", ".join(f"set_config('{name}', ${n}, false)" for n, name in enumerate(settings, 1))
            self.rows(f"SELECT {listed}", *settings.values())
        except BaseException:
            self.close()
            raise

    def _check_server(self) -> None:
        query = "SELECT current_setting('server_version_num'), current_setting('server_encoding')"
        ((version, encoding),) = self.rows(query)
        if int(version) < OLDEST_SERVER * 10_000:
            raise DatabaseError(
                f"The server of {self.name} is PostgreSQL {int(version) // 10_000}; {OLDEST_SERVER} or newer is needed."
            )
        if encoding != "UTF8":
            raise DatabaseError(
                f"The database {self.name} holds texts as {encoding}. Create one with ENCODING 'UTF8' and TEMPLATE "
                "template0."
            )

    def close(self) -> None:
        """Disconnect; what is not committed is gone."""
        with suppress(adbc_driver_manager.Error):
            self._cursor.close()
        with suppress(adbc_driver_manager.Error):
            self._connection.close()

    # Statements

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Say what the database says, with what it means for what was being done."""
        try:
            yield
        except adbc_driver_manager.Error as error:
            said = f"The database {self.name} says: {str(error).strip()}. What was not committed is undone; "
            if self._passes(error):
                raise DatabaseAwayError(f"{said}run again when it can be reached.") from error
            raise DatabaseError(f"{said}running again does not help before that is mended.") from error

    def _passes(self, error: adbc_driver_manager.Error) -> bool:
        """Say whether what failed may succeed later; a server that could say nothing more has left no SQLSTATE."""
        if error.sqlstate:
            return error.sqlstate.startswith(_PASSING)
        return error.status_code == adbc_driver_manager.AdbcStatusCode.IO and not self._is_connected()

    def _is_connected(self) -> bool:
        try:
            self._cursor.execute("SELECT")
        except adbc_driver_manager.Error as error:
            # A transaction that has failed refuses everything, and says so.
            return bool(error.sqlstate)
        return True

    def execute(self, statement: str, *parameters: object) -> None:
        """Run a statement that gives nothing; its parameters are $1, $2 and so on."""
        with self._asked():
            self._cursor.execute(statement, parameters or None)

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Give the few rows of a query."""
        with self._asked():
            self._cursor.execute(query, parameters or None)
            found: list[tuple[Any, ...]] = self._cursor.fetchall()
        return found

    def frame(self, query: str, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
        """Give the rows of a query, its columns in these types."""
        with self._asked():
            self._cursor.execute(query)
            found = pl.DataFrame(_plain_table(self._cursor.fetch_arrow_table()))
        unsigned = [name for name in found.columns if schema[name] == pl.UInt64]
        return in_types(found.with_columns(pl.col(unsigned).reinterpret(signed=False)), schema)

    def batches(self, query: str) -> pa.RecordBatchReader:
        """Give the rows of a query batch by batch; read them to their end before anything else is asked.

        Numbers with decimals come as texts.
        """
        with self._asked():
            self._cursor.execute(query)
            return self._cursor.fetch_record_batch()

    # Transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is done inside happen whole, or not at all; inside another one, it is part of that."""
        if self._depth:
            yield
            return
        self.execute("BEGIN")
        self._depth = 1
        try:
            yield
        except BaseException:
            # A broken connection has rolled back already, and what broke it is what must be told.
            with suppress(DatabaseError):
                self.execute("ROLLBACK")
            self._temporaries.clear()
            raise
        else:
            self.execute("COMMIT")
        finally:
            self._depth = 0
            self._filled.clear()

    # Rows in

    def insert(self, schema: str, table: str, frame: pl.DataFrame) -> int:
        """Append a frame to a table, by the names of columns, and give the number of rows."""
        if frame.is_empty():
            return 0
        with self._asked():
            self._cursor.adbc_ingest(table, _to_arrow(_plain(frame)), mode="append", db_schema_name=schema)
        return frame.height

    @contextmanager
    def asking(self, name: str, frame: pl.DataFrame) -> Iterator[None]:
        """Let queries read a frame as a temporary table, inside one transaction; the name stands for its columns."""
        frame = _plain(frame)
        with self.transaction():
            if name not in self._temporaries:
                columns = _list_columns(frame.schema)
                self.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} ({columns}) ON COMMIT DELETE ROWS")
                self._temporaries.add(name)
            if name in self._filled:
                self.execute(f"DELETE FROM pg_temp.{name}")  # noqa: S608
            self._filled.add(name)
            if not frame.is_empty():
                with self._asked():
                    self._cursor.adbc_ingest(name, _to_arrow(frame), mode="append", temporary=True)
            yield

    @contextmanager
    def joining(self, *kinds: str) -> Iterator[None]:
        """Let the planner read tables as a whole to join them meanwhile: by `hash`, `merge` or both."""
        self._allow_joins(kinds, "on")
        try:
            yield
        finally:
            with suppress(DatabaseError):
                self._allow_joins(kinds, "off")

    def _allow_joins(self, kinds: Iterable[str], setting: str) -> None:
        joins = ", ".join(f"set_config('enable_{kind}join', $1, false)" for kind in kinds)
        self.rows(f"SELECT {joins}", setting)


def _list_columns(schema: Mapping[str, pl.DataType]) -> str:
    return ", ".join(f'"{name}" {SQL_TYPES[kind]}' for name, kind in schema.items())


def create_table(name: str, schema: Mapping[str, pl.DataType], options: str = "") -> str:
    """Give the statement that creates a table where there is none."""
    return f"CREATE TABLE IF NOT EXISTS {name} ({_list_columns(schema)}) {options}".rstrip()


def comments(table: str, doc: str, columns: Iterable[tuple[str, str]]) -> list[str]:
    """Give the statements that document a table and its columns."""
    quoted = "'" + doc.replace("'", "''") + "'"
    listed = [(name, "'" + text.replace("'", "''") + "'") for name, text in columns]
    return [
        f"COMMENT ON TABLE {table} IS {quoted}",
        *(f'COMMENT ON COLUMN {table}."{name}" IS {text}' for name, text in listed),
    ]


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Give a frame in types that the database has: no unsigned integers, words or time zones."""
    plain = []
    for name, kind in frame.schema.items():
        if kind == pl.UInt64:
            plain.append(pl.col(name).reinterpret(signed=True))
        elif kind in (pl.Enum, pl.Categorical):
            plain.append(pl.col(name).cast(pl.String))
    return without_time_zones(frame.with_columns(plain))


def _to_arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _plain_table(table: pa.Table) -> pa.Table:
    """Give the texts that stand for numbers with decimals as what they are."""
    for place, field in enumerate(table.schema):
        if isinstance(field.type, pa.BaseExtensionType):
            column = table.column(place)
            texts = pa.chunked_array([chunk.storage for chunk in column.chunks], field.type.storage_type)
            table = table.set_column(place, field.name, texts)
    return table
