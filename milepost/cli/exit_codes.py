"""What the exit codes of `milepost` mean, the only place where they are listed."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command says to the program that called it."""

    OK = 0
    FAILED = 1
    USAGE = 2
    WITHHELD = 3
    BUSY = 4
    INPUTS_REJECTED = 5


#: Code → what it means; `--help` and the documentation show it.
MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "Done.",
    ExitCode.FAILED: "It could not go on; a message says why and what helps. Nothing is lost: run it again.",
    ExitCode.USAGE: "The command line or the project's configuration is not right.",
    ExitCode.WITHHELD: "An audit withheld the publication; the one before stays readable.",
    ExitCode.BUSY: "Another run is going on in this home.",
    ExitCode.INPUTS_REJECTED: "Done, but whole files could not be read; the rest was published.",
}
