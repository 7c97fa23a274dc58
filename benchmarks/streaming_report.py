"""The stream's measurements as Markdown that documentation can quote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.report import BAR_HEAD, Bar
from benchmarks.soak import table

_NAMES = {"postgresql": "PostgreSQL", "duckdb": "DuckDB"}


def streaming_markdown(results: dict[str, Any], bars: list[Bar]) -> str:
    """Write sections that there are, and the bars."""
    lines: list[str] = []
    for kind, name in _NAMES.items():
        if kind in results:
            lines += [*_store(name, results[kind]), ""]
    if "folds" in results:
        lines += [*_folds(results["folds"]), ""]
    if "collector" in results:
        lines += [*_collector(results["collector"]), ""]
    if "soak" in results:
        soaked = results["soak"]
        said = "; ".join(soaked["wrong"]) or "nothing grows, nothing is missing"
        lines += [
            f"## Soak, {_NAMES[soaked['store']]}",
            "",
            f"{_machine(soaked)}.",
            "",
            table(soaked),
            "",
            f"Verdict: {said}.",
            "",
        ]
    if bars:
        lines += ["## Bars", "", *BAR_HEAD, *(bar.line for bar in bars)]
    return "\n".join(lines).rstrip() + "\n"


def _machine(measured: dict[str, Any]) -> str:
    told = measured["machine"]
    return f"{told['processors']} processors, load {told['load'][0]}"


def _store(name: str, measured: dict[str, Any]) -> Iterator[str]:
    yield f"## {name}, {measured['facts_before']:,} facts before"
    yield ""
    yield f"{_machine(measured)}. Batches of at most {measured['batch_facts']:,} facts."
    yield ""
    loads = measured["loads"]
    parts = sorted({part for load in loads for part in load["cpu_microseconds_per_event"]})
    yield "| from | events | events/s | " + " | ".join(f"{part}, CPU µs/event" for part in parts) + " |"
    yield "|---|--:|--:|" + "--:|" * len(parts)
    for load in loads:
        used = load["cpu_microseconds_per_event"]
        cells = " | ".join(f"{used[part]:.1f}" if part in used else "" for part in parts)
        yield f"| {load['load']} | {load['events']:,} | {load['events_per_second']:,} | {cells} |"
    yield ""
    yield "Where the stitch spends its time, seconds by the clock (of CPU):"
    for load in loads:
        steps = load["stitch_seconds"]
        names = [step.removesuffix(", wall") for step in steps if step.endswith(", wall")]
        listed = ", ".join(f"{step} {steps[f'{step}, wall']} ({steps[f'{step}, cpu']})" for step in names)
        yield f"- {load['load']}, {load['seconds']} s: {listed}"
    fresh = measured["freshness"]
    seen, published = fresh["seconds_to_readers"], fresh["published_within"]
    shares = ", ".join(f"{part} {share:.2f}" for part, share in fresh["cpu_share_of_a_processor"].items())
    yield ""
    yield (
        f"At {fresh['rate']:,} events/s a reader sees an event after {seen['p50']} s (half), {seen['p99']} s "
        f"(99 of 100), {seen['max']} s (all of {fresh['watched']:,}); it is published within {published['p50']:g} s "
        f"(half) and {published['p99']:g} s (99 of 100). Processors used meanwhile: {shares}."
    )


def _folds(measured: dict[str, Any]) -> Iterator[str]:
    yield "## The folding job alone, on given customer ids"
    yield ""
    yield f"{_machine(measured)}. {measured['events']:,} JSON messages from Kafka; the states are equal."
    yield ""
    yield "| contestant | CPU µs/event | events/s |"
    yield "|---|--:|--:|"
    for name, row in measured["contestants"].items():
        if "missing" in row:
            yield f"| {name} | not installed: {row['missing']} | |"
        else:
            yield f"| {name} | {row['cpu_microseconds_per_event']:.1f} | {row['events_per_second']:,} |"


def _collector(measured: dict[str, Any]) -> Iterator[str]:
    yield "## Collector"
    yield ""
    yield f"{_machine(measured)}. `bare` only acknowledges to Kafka: no key, limit, protocol, JSON or spool."
    yield ""
    yield "| server | load | requests/s | events/s | CPU µs/event | p50 ms | p99 ms |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for row in measured["rows"]:
        cells = (f"{value:,}" if isinstance(value, int | float) else value for value in row.values())
        yield f"| {' | '.join(cells)} |"
