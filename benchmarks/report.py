"""The benchmark's results as a table that documentation can quote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_GIGABYTE = 10**9


@dataclass(frozen=True)
class Bar:
    """A figure that may be at most so much, or has to be at least so much."""

    name: str
    value: float
    bound: float
    least: bool = False

    @property
    def met(self) -> bool:
        """Is the figure within the bar?"""
        return self.value >= self.bound if self.least else self.value <= self.bound

    @property
    def row(self) -> dict[str, Any]:
        """What the results keep of it."""
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "at_least" if self.least else "at_most": round(self.bound, 4),
            "met": self.met,
        }

    @property
    def line(self) -> str:
        """The bar as a row of a Markdown table: name, figure, bound, met."""
        bound = f"{'at least' if self.least else 'at most'} {self.bound:,.3f}"
        return f"| {self.name} | {self.value:,.3f} | {bound} | {'yes' if self.met else 'no'} |"


BAR_HEAD = ["| bar | figure | bound | met |", "|---|--:|--:|---|"]


def _contestant(name: str, row: dict[str, Any]) -> str:
    microseconds = row["cpu_seconds"] / row["events"] * 1e6
    return (
        f"| {name} | {row['events']:,} | {row['cpu_seconds']:.1f} | {microseconds:.1f} "
        f"| {row['events_per_cpu_second']:,} | {row['peak_bytes'] / _GIGABYTE:.2f} |"
    )


def markdown(results: dict[str, Any], bars: list[Bar]) -> str:
    """Write results and bars as Markdown."""
    increments = results["increments"]
    equal = not any(results["differing_tables"].values())
    lines = [
        "| contestant | events | CPU s | CPU µs per event | events per CPU s | peak GB |",
        "|---|--:|--:|--:|--:|--:|",
        *(_contestant(name, row) for name, row in results["contestants"].items()),
        "",
        f"A batch of {increments['batch_events']:,} events into {increments['into_events']:,}:"
        f" {increments['warm_cpu_seconds']:.2f} CPU s from decoded events to commit in a warm process,"
        f" {increments['cold_cpu_seconds']:.2f} in a cold one;"
        f" {increments['warm_whole_cpu_seconds']:.2f} with Beam's start, decoding and closing.",
        "The five tables are equal." if equal else f"Tables differ: {results['differing_tables']}.",
        "",
        *BAR_HEAD,
        *(bar.line for bar in bars),
    ]
    return "\n".join(lines) + "\n"
