"""What `milepost status` shows of a running stream: parts, lag, freshness, fates since the parts started."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milepost.cli.console import out, plain_table

if TYPE_CHECKING:
    from milepost.parts.machine import Machine

#: What each part counts, and what it is called here.
_COUNTED = {"milepost_records_total": "records", "milepost_facts_total": "facts"}


def read_live(home: Path) -> dict[str, Any] | None:
    """Look at the parts of the home's project; None where none runs.

    Gives `parts` (name, state, where, log), `lag` (topic → partition → messages not worked off), `fates` (source →
    unit → fate → count since the part started), and `published_seconds_ago`.
    """
    from milepost.cli.home_record import owner
    from milepost.parts.machine import Machine
    from milepost.project import PROJECT_FILE, load_project

    project = owner(home)
    if project is None or not (project / PROJECT_FILE).exists():
        return None
    machine = Machine(load_project(project, home))
    states = list(machine.states())
    if all(state.pid is None for state in states):
        return None
    metrics: dict[str, list[Any]] = {}
    for name in ("ingest", "stitch"):
        if name in machine.wanted:
            metrics[name] = _metrics(machine, name)
    return {
        "parts": [
            {
                "part": state.name,
                "state": "up" if state.pid is not None else "down",
                "where": state.address,
                "log": str(state.log),
            }
            for state in states
        ],
        "lag": _lag(machine),
        "fates": _fates(metrics),
        "published_seconds_ago": _published_ago(metrics.get("stitch", [])),
        "files_waiting": int(_value(metrics.get("stitch", []), "milepost_bus_files_waiting")),
        "freshness_seconds": _freshness(metrics.get("stitch", [])),
    }


def _metrics(machine: Machine, name: str) -> list[Any]:
    """Give the samples that a part tells; none where it does not answer."""
    from prometheus_client.parser import text_string_to_metric_families

    from milepost.parts.errors import PartError

    try:
        text = machine.metrics(name)
    except PartError:
        return []
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def _lag(machine: Machine) -> dict[str, dict[str, int]] | None:
    """Give what is not worked off by topic and partition; None where Kafka can't be asked."""
    from connectors.kafka.errors import KafkaUnreachableError
    from connectors.kafka.offsets import group_offsets
    from milepost.parts.errors import PartError
    from pipelines.stream import INGEST_GROUP, STITCH_GROUP

    lag: dict[str, dict[str, int]] = {}
    try:
        with group_offsets(machine.kafka_settings()) as groups:
            for group in (INGEST_GROUP, STITCH_GROUP):
                for partition, messages in sorted(groups.lag(group).items()):
                    lag.setdefault(partition.topic, {})[str(partition.partition)] = messages
    except (KafkaUnreachableError, PartError):
        return None
    return lag


def _fates(metrics: dict[str, list[Any]]) -> dict[str, dict[str, dict[str, int]]]:
    fates: dict[str, dict[str, dict[str, int]]] = {}
    for samples in metrics.values():
        for sample in samples:
            if sample.name in _COUNTED:
                counts = fates.setdefault(sample.labels["source"], {}).setdefault(_COUNTED[sample.name], {})
                fate = sample.labels["fate"]
                counts[fate] = counts.get(fate, 0) + int(sample.value)
    return fates


def _published_ago(samples: list[Any]) -> float | None:
    from milepost.clock import now

    at = _value(samples, "milepost_last_publication_timestamp_seconds")
    return None if not at else max(0.0, now().timestamp() - at)


def _value(samples: list[Any], name: str) -> float:
    return next((float(sample.value) for sample in samples if sample.name == name), 0.0)


def _freshness(samples: list[Any]) -> dict[str, float | None] | None:
    """Give the bounds below which half and 99 of 100 facts were published, in seconds; None beyond the last bound."""
    buckets = sorted(
        (float(s.labels["le"]), s.value) for s in samples if s.name == "milepost_freshness_seconds_bucket"
    )
    if not buckets or not buckets[-1][1]:
        return None
    count = buckets[-1][1]
    bounds = {
        name: next(bound for bound, below in buckets if below >= share * count)
        for name, share in (("half_within", 0.5), ("99_of_100_within", 0.99))
    }
    return {name: bound if math.isfinite(bound) else None for name, bound in bounds.items()}


def _within(bound: float | None) -> str:
    """Say it in words; what has no bound took longer than the last one, see `milepost.metrics.FRESHNESS`."""
    return "more than an hour" if bound is None else f"within {bound:g} s"


def print_live(live: dict[str, Any]) -> None:
    """Show it."""
    table = plain_table("Parts", "part", "state", "where", "log")
    for part in live["parts"]:
        colour = "green" if part["state"] == "up" else "red"
        table.add_row(part["part"], f"[{colour}]{part['state']}[/{colour}]", part["where"] or "", part["log"])
    out.print(table)
    if live["lag"] is None:
        out.print("[red]Kafka can't be asked for the lag.[/red]")
    else:
        lag = plain_table("Lag (messages not worked off)", "topic", "all", "by partition", right=("all",))
        for topic, partitions in live["lag"].items():
            shown = ", ".join(f"{number}: {count:,}" for number, count in partitions.items() if count)
            lag.add_row(topic, f"{sum(partitions.values()):,}", shown or "none")
        out.print(lag)
    fates = plain_table("Fates since the parts started", "source", "of", "became")
    for source, units in sorted(live["fates"].items()):
        for unit, counts in sorted(units.items(), reverse=True):
            fates.add_row(
                source, unit, ", ".join(f"{count:,} {fate}" for fate, count in sorted(counts.items()))
            )
    out.print(fates)
    ago, fresh = live["published_seconds_ago"], live["freshness_seconds"]
    said = "nothing published since the start" if ago is None else f"published {ago:,.1f} s ago"
    if fresh is not None:
        half, most = _within(fresh["half_within"]), _within(fresh["99_of_100_within"])
        said += f"; half of the facts {half}, 99 of 100 {most}"
    if live["files_waiting"]:
        said += f"; {live['files_waiting']:,} files of facts wait to be stitched"
    out.print(f"Freshness: {said}\n")
