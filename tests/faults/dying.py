"""`python -m tests.faults.dying WHERE ARGUMENTS` is `milepost ARGUMENTS` that kills itself on the way.

WHERE is a step of the publication before which it dies (those that `pipelines.stitch.run_stitch` tells of; `published`
is behind the last), `sync:N` (in place of the Nth time that something is brought to the disk), or `count:FILE`: it
lives, and writes into the file how often something was brought to the disk.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from milepost.cli import job, main
from pipelines.stitch import run_stitch


def die() -> None:
    """Die as by the power switch: nothing is flushed, closed or tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_before(step: str) -> None:
    """Die before a step of the publication; `published` is behind the last one."""
    stitch = run_stitch

    def dying_stitch(*arguments: Any, **options: Any) -> Any:
        report = stitch(*arguments, **options, step=lambda taken: die() if taken == step else None)
        if step == "published":
            die()
        return report

    setattr(job, "run_stitch", dying_stitch)  # noqa: B010


def die_at_sync(number: int) -> Iterator[int]:
    """Die in place of a sync; 0 lives. Gives the numbers of syncs that are still to come."""
    numbers = count(1)
    sync = os.fsync

    def dying_sync(descriptor: Any) -> None:
        if next(numbers) == number:
            die()
        sync(descriptor)

    setattr(os, "fsync", dying_sync)  # noqa: B010
    return numbers


if __name__ == "__main__":
    kind, _, detail = sys.argv.pop(1).partition(":")
    if kind == "count":
        coming = die_at_sync(0)
        atexit.register(lambda: Path(detail).write_text(str(next(coming) - 1)))
    elif kind == "sync":
        die_at_sync(int(detail))
    else:
        die_before(kind)
    main()
