"""One simulated market for all tests of the simulator."""

from __future__ import annotations

from pathlib import Path

import pytest

from milepost.simulate import SimulationSummary, simulate


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> SimulationSummary:
    return simulate(customers=2_000, seed=7, out=tmp_path_factory.mktemp("market") / "project")


@pytest.fixture(scope="session")
def project(market: SimulationSummary) -> Path:
    return market.project
