"""Progress of a run in this process: steps report how many facts they have done; a run elsewhere reports nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Takes a stage's name and how many more facts it has done; of `largest unit`, how many facts that has.
Progress = Callable[[str, int], None]

_listeners: dict[str, Progress] = {}


@contextmanager
def listening(run_id: str, progress: Progress | None) -> Iterator[None]:
    """Pass what the steps of a run report on to a listener."""
    if progress is not None:
        _listeners[run_id] = progress
    try:
        yield
    finally:
        _listeners.pop(run_id, None)


def report(run_id: str, stage: str, done: int) -> None:
    """Report that a stage of a run has done so many more facts."""
    listener = _listeners.get(run_id)
    if listener is not None:
        listener(stage, done)
