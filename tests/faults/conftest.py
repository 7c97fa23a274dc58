"""What the tests of faults share: two runs that nothing disturbed."""

from __future__ import annotations

import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.market import deliver, write_market
from tests.faults.runs import Place, State, milepost, shared, state


@dataclass(frozen=True)
class Run:
    """A run that nothing disturbed: what it left, the processor time it took, how often it synced."""

    state: State
    seconds: float
    syncs: int


@dataclass(frozen=True)
class Undisturbed:
    """A first run and an incremental second one. `key` is the hashing key; `after_first` is what the first left."""

    runs: tuple[Run, Run]
    after_first: Place
    key: Path

    def before(self, number: int, folder: Path) -> Place:
        """Give a fresh place in which run 0 or 1 is next."""
        if number == 1:
            place = self.after_first.copy(folder)
            deliver(place.project, 2)
            return place
        place = Place(folder / "project", folder / "home")
        write_market(place.project)
        place.home.mkdir()
        # Identifiers are hashed with the key: equal tables need an equal one.
        shutil.copy2(self.key, place.home / self.key.name)
        return place

    def snapshots(self, number: int) -> list[dict[str, str]]:
        """Give what a reader may see while run 0 or 1 is under way: the publication before, or the one after."""
        return [run.state.snapshot for run in self.runs[max(number - 1, 0) : number + 1]]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return shared(tmp_path_factory, "undisturbed", _run_twice)


def _run_twice(folder: Path) -> Undisturbed:
    place = Place(folder / "whole" / "project", folder / "whole" / "home")
    write_market(place.project)
    first = _measured(place)
    after_first = place.copy(folder / "after_first")
    deliver(place.project, 2)
    return Undisturbed((first, _measured(place)), after_first, place.home / "hashing.key")


def _measured(place: Place) -> Run:
    counted = place.home.parent / "syncs"
    began = _processor_time()
    done = milepost(place, "run", program=("-m", "tests.faults.dying", f"count:{counted}"))
    assert done.returncode == 0, done.stderr
    return Run(state(place), _processor_time() - began, int(counted.read_text()))


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
