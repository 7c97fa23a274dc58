"""What a command says when it cannot go on: one message, what helps, and an exit code; never a traceback."""

from __future__ import annotations

import errno
import os
import traceback

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


def explain(error: BaseException) -> ExitCode:
    """Print what is wrong and what helps, on standard error, and give the exit code."""
    if isinstance(error, CommandError):
        _print(str(error), error.remedy)
        return error.code
    for known, code in _expected_errors():
        if isinstance(error, known):
            _print(str(error))
            return code
    if isinstance(error, OSError):
        _print(*_system_error(error))
        return ExitCode.FAILED
    _print(
        f"unexpected {type(error).__name__}: {error}",
        f"this is a mistake in Milepost: please report it. {DEBUG_VARIABLE}=1 shows where it happened",
    )
    if os.environ.get(DEBUG_VARIABLE):
        err.print("".join(traceback.format_exception(error)), markup=False)
    return ExitCode.FAILED


def _expected_errors() -> tuple[tuple[type[Exception], ExitCode], ...]:
    """Give the errors whose messages already say what is wrong and what helps. Imported only when one is needed."""
    from connectors.errors import ConnectorError, MappingError
    from milepost.project import ProjectError
    from warehouse.definitions import WarehouseVersionError

    return (
        (ProjectError, ExitCode.USAGE),
        (MappingError, ExitCode.USAGE),
        (ConnectorError, ExitCode.FAILED),
        (WarehouseVersionError, ExitCode.FAILED),
    )


def _system_error(error: OSError) -> tuple[str, str]:
    place = f"{error.filename}: " if error.filename else ""
    what = f"{place}{error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"no room left: {what}", "make room and run it again; nothing is lost"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"not allowed: {what}", "correct the rights, or name another home with --home"
    return what, "`milepost doctor` looks for what is wrong"


def _print(message: str, remedy: str = "") -> None:
    err.print(f"[red]Error:[/red] {escape(message)}", soft_wrap=True)
    if remedy:
        err.print(f"[b]Remedy:[/b] {escape(remedy)}.", soft_wrap=True)
