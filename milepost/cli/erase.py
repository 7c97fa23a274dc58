"""`milepost erase`: a person is forgotten, and a receipt says place by place what is gone and what is left."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from milepost.cli.console import err, out, print_json
from milepost.cli.errors import CommandError
from milepost.cli.manual import (
    IDENTIFIER_HELP,
    DryRunOption,
    ReasonOption,
    Statement,
    changes_of,
    make_fact,
    put_fact,
)
from milepost.cli.options import HomeOption, JsonOption, ProjectOption, home_folder

if TYPE_CHECKING:
    from milepost.cli.job import Job
    from milepost.cli.preview import RowChange
    from milepost.project import Project


def erase(
    identifier: Annotated[str, typer.Argument(help=IDENTIFIER_HELP)],
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    project: ProjectOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget a person: all identifiers and facts up to now are gone for good, also what arrives late.

    A shared or blocked identifier points at nobody in particular and is refused.
    """
    from milepost.cli.job import open_job, stitch_and_publish
    from milepost.cli.preview import print_changes

    statement = Statement("erasure", {"reason": reason}, project, home_folder(home), dry_run, as_json)
    with open_job(project, statement.home, "erase") as job:
        facts = make_fact(job, statement, {"identifier": identifier})
        changes = changes_of(job, "erasure", facts)
        _refuse_rejected(changes)
        if dry_run:
            if as_json:
                print_json([change.as_json() for change in changes])
            else:
                print_changes(changes, out)
            return
        names = _clear_texts(identifier, changes)
        sources = _source_files(job, changes)
        put_fact(job, "erasure", facts)
        with err.status("erasing"):
            stitch_and_publish(job)
            places = [
                *_published(changes),
                *_clear_raw_zone(job, names),
                *_on_kafka(job.project),
                *_left(sources),
            ]
    receipt = {"erasure": facts["event_id"][0], "erased_at": facts["erased_at"][0], "places": places}
    if as_json:
        print_json(receipt)
        return
    out.print(f"[b]Receipt of erasure {receipt['erasure']}[/b], {receipt['erased_at']:%Y-%m-%d %H:%M:%S} UTC")
    for place in places:
        out.print(f"  [b]{place['place']}[/b]: {escape(place['what'])}", soft_wrap=True)


def _refuse_rejected(changes: list[RowChange]) -> None:
    for change in changes:
        if change.table == "erasures" and change.columns.get("status", ("", ""))[1] == "rejected":
            reason = change.columns["reason"][1]
            raise CommandError(
                f"the identifier is {reason}: it points at nobody in particular",
                remedy="name one that is the person's own; `milepost journey` shows who it points at",
            )


def _clear_texts(identifier: str, changes: list[RowChange]) -> set[str]:
    """Give what may stand in rejected inputs: what was typed, and the person's identifiers that are no hashes."""
    from schemas.vocabulary import load_vocabulary

    personal = {name for name, words in load_vocabulary().namespaces.items() if words.personal}
    gone = {
        change.key["value"]
        for change in changes
        if change.table == "identities"
        and change.change == "removed"
        and change.key["namespace"] not in personal
    }
    return {identifier.partition(":")[2].strip().lower(), *(value.lower() for value in gone)}


def _source_files(job: Job, changes: list[RowChange]) -> list[str]:
    """Name the source files that the erased touchpoints came from."""
    from connectors.bus import Bus, read_bus_file
    from connectors.ids import ID_DIGITS

    bus = Bus(job.home)
    erased = [c.key["event_id"] for c in changes if c.table == "touchpoints" and c.change == "removed"]
    raw_ids: set[str] = set()
    for path in bus.current_files("touchpoint"):
        facts = read_bus_file(path)
        mine = facts.filter(facts["event_id"].is_in(erased))
        raw_ids |= {raw_id.partition(":")[0] for ids in mine["raw_ids"].to_list() for raw_id in ids or ()}
    return sorted({e.path for e in bus.registry().standing.values() if e.sha256[:ID_DIGITS] in raw_ids})


def _published(changes: list[RowChange]) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    for change in changes:
        if change.change == "removed":
            counts[change.table] = counts.get(change.table, 0) + 1
    gone = ", ".join(f"{count:,} rows of {table}" for table, count in sorted(counts.items()))
    return [{"place": "warehouse and its snapshot", "what": f"gone: {gone or 'nothing was known'}"}]


def _clear_raw_zone(job: Job, names: set[str]) -> list[dict[str, Any]]:
    """Take the payloads out of dead letters, and the files out of the raw zone, that name the person."""
    import polars as pl

    from connectors.bus import DEAD_LETTERS, Bus, read_bus_file
    from milepost.cli.retention import raw_files

    def named(content: bytes | None) -> bool:
        text = (content or b"").lower()
        return any(name.encode() in text for name in names)

    bus = Bus(job.home)
    letters = 0
    for path in bus.current_files(DEAD_LETTERS):
        frame = read_bus_file(path)
        found = pl.Series([named(content) for content in frame["payload"]], dtype=pl.Boolean)
        if found.any():
            cleared = frame.with_columns(pl.when(~found).then(pl.col("payload")).alias("payload"))
            bus.write(DEAD_LETTERS, path.stem, cleared)
            letters += int(found.sum())
    files = [path for path in raw_files(job.home) if named(path.read_bytes())]
    for path in files:
        path.unlink()
    return [
        {"place": "dead letters", "what": f"gone: {letters:,} payloads; their reasons hold no personal data"},
        {"place": "raw zone", "what": f"gone: {len(files):,} files; {_rest(job.home)}"},
    ]


def _rest(home: Path) -> str:
    """Say by when retention clears what may name the person in words that nobody typed."""
    from milepost.cli.home_record import raw_days
    from milepost.cli.retention import oldest_payload
    from milepost.clock import now

    if oldest_payload(home) is None:
        return "nothing else is in it"
    cleared_by = now() + timedelta(days=raw_days(home))
    return f"rejected inputs that name the person otherwise are cleared by {cleared_by:%Y-%m-%d}"


def _on_kafka(project: Project) -> list[dict[str, Any]]:
    """Say what of a person stays on Kafka and in the collector's spool, and by when it is cleared."""
    from milepost.clock import now

    streams = sorted(name for name, source in project.sources.items() if source.stream is not None)
    if not streams:
        return []
    cleared_by = now() + timedelta(days=project.raw_days)
    return [
        {
            "place": "raw topics and dead letters on Kafka",
            "what": f"what came in as it came, of {', '.join(streams)}: cleared by {cleared_by:%Y-%m-%d}; the pipeline "
            "alone reads it, and a replay erases it again",
        },
        {
            "place": "the collector's spool",
            "what": "holds what Kafka has not acknowledged yet, and is emptied once it has",
        },
        {
            "place": "topics of facts on Kafka",
            "what": "hashed, without names; kept "
            + (
                f"{project.stream.facts_days} days"
                if project.stream.facts_days
                else "for ever, unless `stream.facts_days` says otherwise"
            ),
        },
    ]


def _left(sources: list[str]) -> list[dict[str, Any]]:
    files = ", ".join(sources) or "none known"
    return [
        {
            "place": "bus and store",
            "what": "hashed links stay, where no team reads, so that what arrives late or is replayed is erased too",
        },
        {"place": "source files", "what": f"yours to clear, Milepost only refers to them: {files}"},
        {"place": "backups", "what": "those made before now still hold the person: replace them"},
    ]
