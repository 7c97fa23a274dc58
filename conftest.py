"""A skipped test is a printed line on a contributor's machine, and an error in continuous integration."""

from __future__ import annotations

import os
from typing import Any

import pytest


def _skipped(config: pytest.Config) -> list[Any]:
    # The workers of pytest-xdist have no reporter; their skips arrive at the one process that has.
    reporter = config.pluginmanager.getplugin("terminalreporter")
    return list(reporter.stats.get("skipped", [])) if reporter is not None else []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a session that skipped something where CI is set."""
    if os.environ.get("CI") == "true" and exitstatus == pytest.ExitCode.OK and _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say why the session failed."""
    skipped = _skipped(config)
    if os.environ.get("CI") == "true" and skipped:
        terminalreporter.write_line(
            f"{len(skipped)} skipped: with CI=true a skipped test is an error", red=True
        )
