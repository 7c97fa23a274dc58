"""`erase`, `link`, `unlink` and `retract`: facts that a person states, on the bus like all others, then stitched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from connectors.ids import ID_DIGITS
from milepost.cli.console import err, out, print_json
from milepost.cli.errors import CommandError
from milepost.cli.exit_codes import ExitCode
from milepost.cli.options import HomeOption, JsonOption, ProjectOption, home_folder

if TYPE_CHECKING:
    import polars as pl

    from milepost.cli.job import Job

#: What facts name as their source that somebody stated here.
MANUAL = "manual"

#: What a link or a retraction is that does what it was stated for.
DONE = ("joined", "applied")
#: Status → what it means, where the tables give no reason.
MEANINGS = {
    "waiting": "no fact has this event_id; the retraction will apply if one arrives",
    "outweighed": "a later confirmed link of the two stands",
}

_EVENT_ID = re.compile(f"[0-9a-f]{{{ID_DIGITS}}}")

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show which rows would change, and change nothing.")
]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why; without personal data.")]
IDENTIFIER_HELP = "namespace:value, such as email:ann@example.com; clear text is hashed."


@dataclass(frozen=True)
class Statement:
    """A fact to state: its type, what it says beside the common columns, and where it is to be stated."""

    fact: str
    columns: dict[str, Any]
    project: Path | None
    home: Path
    dry_run: bool
    as_json: bool


def link(
    a: Annotated[str, typer.Argument(help=IDENTIFIER_HELP)],
    b: Annotated[str, typer.Argument(help="The other one.")],
    dry_run: DryRunOption = False,
    project: ProjectOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """State that two identifiers are one person's. It outweighs earlier retractions of the link."""
    with_names(
        Statement("identity_link", {"confirmed": True}, project, home_folder(home), dry_run, as_json),
        a=a,
        b=b,
    )


def unlink(
    a: Annotated[str, typer.Argument(help=IDENTIFIER_HELP)],
    b: Annotated[str, typer.Argument(help="The other one.")],
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    project: ProjectOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a link back: all sightings of it are gone, also those that arrive later."""
    statement = Statement("retraction", {"reason": reason}, project, home_folder(home), dry_run, as_json)
    with_names(statement, link_a=a, link_b=b)


def retract(
    event_id: Annotated[str, typer.Argument(help="The event_id of a touchpoint, spend, exposure or link.")],
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    project: ProjectOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a fact back, with the links it carried. The tables become those of a run without it."""
    event_id = event_id.strip().lower()
    if not _EVENT_ID.fullmatch(event_id):
        raise CommandError(
            f"{event_id!r} is no event_id: that is {ID_DIGITS} hexadecimal digits",
            remedy="`milepost journey IDENTIFIER --json` and journey.touchpoints have them",
            code=ExitCode.USAGE,
        )
    columns = {"target_event_id": event_id, "reason": reason}
    with_names(Statement("retraction", columns, project, home_folder(home), dry_run, as_json))


def with_names(statement: Statement, **names: str) -> None:
    """State a fact that names identifiers: column → what was typed."""
    from milepost.cli.job import open_job, stitch_and_publish
    from milepost.cli.preview import print_changes

    with open_job(statement.project, statement.home, "correction") as job:
        facts = make_fact(job, statement, names)
        if statement.dry_run:
            changes = changes_of(job, statement.fact, facts)
            if statement.as_json:
                print_json([change.as_json() for change in changes])
            else:
                print_changes(changes, out)
            return
        put_fact(job, statement.fact, facts)
        with err.status("stitching"):
            outcome = stitch_and_publish(job)
        status, reason = what_became(job, statement.fact, facts)
    if statement.as_json:
        stated = {
            "event_id": facts["event_id"][0],
            "fact": statement.fact,
            "status": status,
            "reason": reason,
        }
        print_json({**stated, "fates": outcome.fates})
        return
    out.print(f"Stated as {statement.fact} {facts['event_id'][0]}, and published.")
    if status not in DONE:
        meaning = MEANINGS.get(status or "", "nothing was changed by it")
        out.print(
            f"[yellow]It is {status or 'not used'}[/yellow]: {escape(reason or meaning)}.", soft_wrap=True
        )


def what_became(job: Job, fact: str, facts: pl.DataFrame) -> tuple[str | None, str | None]:
    """Give status and reason of a stated link or retraction in the published tables; None where it is in none."""
    from milepost.cli.warehouse import open_warehouse

    said = facts.row(0, named=True)
    with open_warehouse(job.home, job.store_url) as warehouse:
        if fact == "identity_link":
            rows = warehouse.rows(
                "SELECT status, reason FROM journey.identity_links WHERE (a, b) IN ((?, ?), (?, ?))",
                *(said["a"], said["b"], said["b"], said["a"]),
            )
        else:
            # The reason of one that is not rejected is what its author said.
            rows = warehouse.rows(
                "SELECT status, CASE WHEN status = 'rejected' THEN reason END AS reason "
                "FROM journey.retractions WHERE event_id = ?",
                said["event_id"],
            )
    return (rows[0]["status"], rows[0]["reason"]) if rows else (None, None)


def make_fact(job: Job, statement: Statement, names: dict[str, str]) -> pl.DataFrame:
    """Make the frame of one fact; identifiers are normalised and hashed.

    Raises:
        CommandError: a name is no identifier, or blocked.
    """
    import polars as pl

    from connectors.ids import event_id
    from milepost.cli.identifiers import read_identifier
    from milepost.clock import now
    from schemas.contracts import frame_schema

    moment = now()
    read = {
        column: read_identifier(name, job.home, job.project.phone_region) for column, name in names.items()
    }
    said = {**statement.columns, **read}
    native = "|".join(
        [statement.fact, *(f"{key}={value}" for key, value in sorted(said.items())), moment.isoformat()]
    )
    schema = frame_schema(statement.fact)
    times = dict.fromkeys(("seen_at", "retracted_at", "erased_at"), moment)
    row = {
        "event_id": event_id(MANUAL, native),
        "revision": 0,
        "source": MANUAL,
        "received_at": moment,
        "raw_ids": [],
        "mapping_version": "",
        **times,
        **said,
    }
    return pl.DataFrame([{column: row.get(column) for column in schema}], schema=schema)


def put_fact(job: Job, fact: str, facts: pl.DataFrame) -> None:
    """Put a stated fact on the bus."""
    from connectors.bus import Bus

    Bus(job.home).put(MANUAL, fact, facts, int(facts["received_at"][0].timestamp() * 1_000_000))


def changes_of(job: Job, fact: str, facts: pl.DataFrame) -> list[Any]:
    """List the rows that would change if a fact were stated, see `milepost.cli.preview`."""
    from milepost.cli.preview import preview
    from schemas.contracts import frame_schema
    from warehouse.places import places_of

    with places_of(job.home, job.store_url) as places:
        known = places.store.load_facts(None)
    standing = {name: _of_contract(frame, frame_schema(name)) for name, frame in known.items()}
    with err.status("comparing the tables with it and without it"):
        return preview(standing, {fact: facts}, job.vocabulary, job.project.rules)


def _of_contract(facts: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Give facts of the store the columns of their contract: the store leaves out where they came from."""
    import polars as pl

    absent = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in facts.columns]
    return facts.with_columns(absent).select(list(schema))
