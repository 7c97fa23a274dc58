"""Progress bars on standard error, so that standard output stays what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from milepost.cli.console import err

#: Called with what is being done, and how many of how many steps are done.
Tell = Callable[[str, int, int], None]


@contextmanager
def steps_shown() -> Iterator[Tell]:
    """Show one bar that moves with the steps that are told."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def tell(what: str, done: int, of: int) -> None:
            progress.update(task, description=what, completed=done, total=of)

        yield tell
