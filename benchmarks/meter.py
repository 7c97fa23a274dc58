"""CPU seconds and peak memory: of phases in this process, and of whole child processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

_KIBIBYTE = 1024


def cpu_seconds() -> float:
    """Give user and system seconds of this process and its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass
class Meter:
    """CPU seconds between laps."""

    laps: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=cpu_seconds)

    def lap(self, name: str) -> None:
        """Book what was used since the last lap under the name."""
        now = cpu_seconds()
        self.laps[name] = round(self.laps.get(name, 0.0) + now - self._last, 3)
        self._last = now


@dataclass(frozen=True)
class Measured:
    """What a child process used, and the JSON that it printed last."""

    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    output: dict[str, Any]


def measure(module: str, *arguments: str) -> Measured:
    """Run `python -m MODULE ARGUMENTS…` in a process of its own.

    The peak is that of the largest process among it and its children.

    Raises:
        RuntimeError: the process failed; the message holds what it wrote to its error stream.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.monotonic()
        child = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=output, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        output.seek(0)
        errors.seek(0)
        if child.returncode != 0:
            raise RuntimeError(f"{module} ended with {child.returncode}: {errors.read().decode()[-4000:]}")
        lines = output.read().decode().strip().splitlines()
    return Measured(
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        wall_seconds=wall,
        peak_bytes=usage.ru_maxrss * _KIBIBYTE,
        output=json.loads(lines[-1]) if lines else {},
    )
