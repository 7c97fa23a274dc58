"""What a stream sets aside because an audit will not have it: groups of facts, and their dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from connectors.bus import DEAD_LETTERS
from connectors.dead_letters import Place, Reject, dead_letters, keep_raw
from milepost.units import UnitFinder, find_nodes
from pipelines.stitch_publish import AuditWithheldError
from schemas.contracts import frame_schema
from schemas.vocabulary import Vocabulary
from warehouse.store import MARKS

Facts = Mapping[str, pl.DataFrame]


@dataclass(frozen=True, eq=False)
class Groups:
    """A batch as groups of facts that stay together: `ranks` has the group of each fact, from 0 to `count` - 1."""

    facts: Facts
    ranks: Mapping[str, pl.Series]
    count: int

    def part(self, low: int, high: int) -> dict[str, pl.DataFrame]:
        """Give the facts of the groups from `low` on, up to and without `high`."""
        return {
            name: frame.filter(self.ranks[name].is_between(low, high, closed="left"))
            for name, frame in self.facts.items()
        }


def group_facts(facts: Facts, vocabulary: Vocabulary) -> Groups:
    """Group facts that share names, directly or through others, in order of the smallest event_id of each group.

    So the same set of facts is cut in the same way, whatever order it came in.
    """
    nodes = {name: find_nodes(frame, name, vocabulary) for name, frame in facts.items()}
    finder = UnitFinder()
    for found in nodes.values():
        finder.add(found)
    labels = {
        name: frame.select("event_id").with_columns(pl.Series("label", finder.labels(nodes[name].keys)))
        for name, frame in facts.items()
    }
    order = (
        pl.concat(labels.values())
        .group_by("label")
        .agg(pl.col("event_id").min())
        .sort("event_id")
        .select("label")
        .with_row_index("rank")
    )
    ranks = {
        name: frame.join(order, on="label", how="left", maintain_order="left").get_column("rank")
        for name, frame in labels.items()
    }
    return Groups(facts, ranks, order.height)


def parked_letters(facts: Facts, error: AuditWithheldError, received_at: int, raw_zone: Path) -> pl.DataFrame:
    """Make a dead letter (columns of `dead_letter.avsc`) of each fact; its payload, as JSON, goes to the raw zone.

    Args:
        facts: by type, with the columns of staged ones.
        error: says which expectations fail.
        received_at: when they were set aside (microseconds, UTC).
        raw_zone: of the home.
    """
    audit = error.report.audit
    failing = sorted({f"{one.table}: {one.doc}" for one in audit.failures} if audit is not None else set())
    reason = f"The audit will not have it, by itself or with what shares its names: {'; '.join(failing)}"
    letters = [pl.DataFrame(schema=frame_schema(DEAD_LETTERS))]
    for name, frame in facts.items():
        plain = frame.drop(list(MARKS))
        payloads = plain.select(pl.struct(pl.all()).struct.json_encode()).to_series()
        for source, event_id, payload in zip(plain["source"], plain["event_id"], payloads, strict=True):
            where = f"parked {name} {event_id}"
            reject = Reject("parked", reason, payload.encode())
            letter = dead_letters([reject], Place(source, "audit", where, received_at), raw_zone)
            digest = letter.get_column("payload_sha256")[0]
            # No file and no topic of raw records has it in this form: the raw zone does, whatever its size.
            keep_raw(raw_zone, digest, reject.payload)
            reference = pl.lit(f"raw/{digest} ({where})").alias("payload_ref")
            letters.append(letter.with_columns(reference))
    return pl.concat(letters)
