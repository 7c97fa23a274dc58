"""`python -m tests.faults.dying WHERE ARGUMENTS` is `milepost ARGUMENTS` that kills itself on the way.

WHERE is a step of the publication (`audit`, `store`, `warehouse`, `done`, `published`) before which it dies, `sync:N`
(in place of the Nth time that something is brought to the disk), or `count:FILE`: it lives, and writes into the file
how often something was brought to the disk.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from pathlib import Path
from typing import Any

from milepost.cli import job, main

_sync = os.fsync
_synced = 0


def die() -> None:
    """Die as by the power switch: nothing is flushed, closed or tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_before(step: str) -> None:
    """Die before a step of the publication; `published` is behind the last one."""
    stitch = job.run_stitch

    def dying_stitch(*arguments: Any, **options: Any) -> Any:
        report = stitch(*arguments, **options, step=lambda taken: die() if taken == step else None)
        if step == "published":
            die()
        return report

    job.run_stitch = dying_stitch


def die_at_sync(number: int) -> None:
    """Die in place of a sync; 0 lives and counts them."""

    def sync(descriptor: Any) -> None:
        global _synced
        _synced += 1
        if _synced == number:
            die()
        _sync(descriptor)

    os.fsync = sync


if __name__ == "__main__":
    kind, _, detail = sys.argv.pop(1).partition(":")
    if kind == "count":
        die_at_sync(0)
        atexit.register(lambda: Path(detail).write_text(str(_synced)))
    elif kind == "sync":
        die_at_sync(int(detail))
    else:
        die_before(kind)
    main()
