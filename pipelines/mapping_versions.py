"""Which mapping made a streamed fact: facts of an older one give way once its records have been mapped again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

import polars as pl

from schemas.contracts import FACT_TYPES
from warehouse.store import Store

#: Under this name the store keeps which source each mapping version belonged to.
STATE = "mapping_versions"


def remember_versions(store: Store, versions: Mapping[str, str]) -> dict[str, str]:
    """Remember today's mapping versions by source; gives the source of each version ever seen."""
    known: dict[str, str] = json.loads(store.state(STATE) or "{}")
    merged = {**known, **{version: source for source, version in versions.items()}}
    if merged != known:
        store.set_state(STATE, json.dumps(merged, sort_keys=True))
    return merged


def drop_older(store: Store, versions: Mapping[str, str], source: str, since: datetime | None) -> int:
    """Take out the streamed facts of a source that an older mapping made; give how many.

    The tables still hold what became of them: everything must be folded again, and the store says so until then.

    Args:
        store: open for writing.
        versions: today's mapping version by source.
        source: whose raw records have been mapped once more.
        since: only facts that were received at that time or later; all unless given.
    """
    older = [
        version
        for version, owner in remember_versions(store, versions).items()
        if owner == source and version != versions[source]
    ]
    dropped = 0
    with store.transaction():
        store.note_publication("replay")
        for name in FACT_TYPES:
            stale = store.streamed_facts(name).filter(pl.col("mapping_version").is_in(older))
            if since is not None:
                stale = stale.filter(pl.col("received_at") >= since)
            store.delete_facts(name, stale.get_column("event_id"))
            dropped += stale.height
    return dropped
