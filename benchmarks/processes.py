"""What running processes use, as the system counts it: CPU seconds and memory, a process with all below it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def family(pid: int) -> Iterator[int]:
    """Yield a process and all below it that still run."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from family(int(child))


def cpu_seconds(pid: int) -> float:
    """Give user and system seconds of a process, all below it, and its children that have ended."""
    return sum(_cpu_seconds(one) for one in family(pid))


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / _TICKS


def memory_bytes(pid: int) -> int:
    """Give the memory of a process and all below it that nothing else shares: pages of files are not counted."""
    total = 0
    for one in family(pid):
        try:
            _, resident, shared, *_ = Path(f"/proc/{one}/statm").read_text().split()
        except OSError:
            continue
        total += (int(resident) - int(shared)) * _PAGE
    return total


def cpu_of(parts: Mapping[str, int]) -> dict[str, float]:
    """Give CPU seconds by the name of a part."""
    return {name: cpu_seconds(pid) for name, pid in parts.items()}
