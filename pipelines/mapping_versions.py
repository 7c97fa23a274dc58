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
#: Under this name the store keeps why everything must be folded again.
REBUILD = "rebuild"


def remember_versions(store: Store, versions: Mapping[str, str]) -> frozenset[str]:
    """Remember today's mapping versions by source; gives those of before that are not today's."""
    known = _known(store)
    merged = {**known, **{version: source for source, version in versions.items()}}
    if merged != known:
        store.set_state(STATE, json.dumps(merged, sort_keys=True))
    return frozenset(merged) - frozenset(versions.values())


def _known(store: Store) -> dict[str, str]:
    known: dict[str, str] = json.loads(store.state(STATE) or "{}")
    return known


def drop_older(
    store: Store, versions: Mapping[str, str], source: str, system: str, since: datetime | None
) -> int:
    """Take out the streamed facts of a source that an older mapping made; give how many.

    The tables still hold what became of them: everything must be folded again, and the store says so until it is.

    Args:
        store: open for writing.
        versions: today's mapping version by source.
        source: whose raw records have been mapped once more.
        system: what its facts call their source.
        since: only facts that were received at that time or later; all unless given.
    """
    others = [version for version, owner in _known(store).items() if owner != source]
    others += [version for owner, version in versions.items() if owner != source]
    dropped = 0
    with store.transaction():
        store.set_state(REBUILD, "a replay took facts out")
        for name in FACT_TYPES:
            stale = store.streamed_facts(name).filter(
                pl.col("source") == system,
                pl.col("mapping_version") != versions[source],
                ~pl.col("mapping_version").is_in(others),
            )
            if since is not None:
                stale = stale.filter(pl.col("received_at") >= since)
            store.delete_facts(name, stale.get_column("event_id"))
            dropped += stale.height
    return dropped
