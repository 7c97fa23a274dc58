"""`milepost journey`: one customer's journey as a timeline, and why these identifiers are one customer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from milepost.cli.console import err, out, plain_table, print_json
from milepost.cli.errors import CommandError
from milepost.cli.options import HomeOption, JsonOption, ProjectOption, StoreOption, home_folder, store_in
from milepost.cli.warehouse import Row, Warehouse, open_warehouse

_CUSTOMER_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Journey:
    """All that the warehouse knows of one customer; rows are as in the base tables of these names."""

    customer_id: str
    journey: Row | None
    identities: list[Row]
    links: list[Row]
    touches: list[Row]

    def as_json(self) -> dict[str, Any]:
        """Give it as a JSON document."""
        return {
            "customer_id": self.customer_id,
            "journey": self.journey,
            "identities": self.identities,
            "links": self.links,
            "touches": self.touches,
        }


def journey(
    identifier: Annotated[
        str,
        typer.Argument(help="namespace:value, such as email:ann@example.com or user:42; or a customer_id."),
    ],
    last: Annotated[int, typer.Option(min=1, help="Show only the last so many touches.")] = 200,
    as_json: JsonOption = False,
    home: HomeOption = None,
    project: ProjectOption = None,
    store: StoreOption = None,
) -> None:
    """Show one customer's journey, and why these identifiers are one customer.

    Personal identifiers are typed in clear text; they are hashed with the home's key before they are looked up.
    """
    from milepost.cli.identifiers import project_here

    folder = home_folder(home)
    here = project_here(project)
    with open_warehouse(folder, store_in(folder, store)) as warehouse:
        customer_id = find_customer(warehouse, identifier, folder, here.phone_region if here else None)
        found = read_journey(warehouse, customer_id)
    if as_json:
        print_json(found.as_json())
    else:
        print_journey(found, last, out)


def find_customer(warehouse: Warehouse, text: str, home: Path, phone_region: str | None = None) -> str:
    """Give the customer of an identifier, or of a customer_id that was handed out once.

    Raises:
        CommandError: nobody is known by it.
    """
    from milepost.cli.identifiers import read_identifier

    if _CUSTOMER_ID.fullmatch(text):
        rows = warehouse.rows(
            "SELECT customer_id FROM journey.customer_aliases WHERE old_customer_id = ? "
            "UNION SELECT customer_id FROM journey.identities WHERE customer_id = ?",
            text,
            text,
        )
    else:
        namespace, _, value = read_identifier(text, home, phone_region).partition(":")
        rows = warehouse.rows(
            "SELECT customer_id FROM journey.identities WHERE namespace = ? AND value = ?", namespace, value
        )
    if not rows:
        raise CommandError(
            f"nobody is known as {text}",
            remedy="look for known ones in journey.identities of the warehouse; "
            "after new input, `milepost run` publishes it",
        )
    customer_id: str = rows[0]["customer_id"]
    return customer_id


def read_journey(warehouse: Warehouse, customer_id: str) -> Journey:
    """Read all that the warehouse knows of a customer."""
    journeys = warehouse.rows("SELECT * FROM journey.journeys WHERE customer_id = ?", customer_id)
    identities = warehouse.rows(
        "SELECT * FROM journey.identities WHERE customer_id = ? ORDER BY first_seen_at, namespace, value",
        customer_id,
    )
    links = warehouse.rows(
        "WITH names AS (SELECT namespace || ':' || value AS name FROM journey.identities WHERE customer_id = ?) "
        "SELECT l.*, t.kind, t.source FROM journey.identity_links AS l "
        "LEFT JOIN journey.touchpoints AS t ON t.event_id = l.event_id "
        "WHERE l.a IN (SELECT name FROM names) OR l.b IN (SELECT name FROM names) "
        "ORDER BY l.first_seen_at, l.event_id, l.a, l.b",
        customer_id,
    )
    touches = warehouse.rows(
        "SELECT t.*, e.stage AS entered_stage FROM journey.touchpoints AS t "
        "LEFT JOIN journey.stage_entries AS e ON e.customer_id = t.customer_id AND e.event_id = t.event_id "
        "WHERE t.customer_id = ?",
        customer_id,
    )
    from schemas.vocabulary import load_vocabulary

    position = {stage: place for place, stage in enumerate(load_vocabulary().stages)}
    touches.sort(key=lambda t: (t["occurred_at"], position.get(t["stage"], len(position)), t["event_id"]))
    return Journey(customer_id, journeys[0] if journeys else None, identities, links, touches)


def print_journey(found: Journey, last: int, console: Console) -> None:
    """Print a journey for people."""
    _print_head(found, console)
    _print_identities(found, console)
    if found.touches:
        shown = found.touches[-last:]
        console.print(_timeline(shown))
        if len(shown) < len(found.touches):
            left = len(found.touches) - len(shown)
            err.print(f"{left:,} earlier touches are left out; --last {len(found.touches)} shows them.")


def _print_head(found: Journey, console: Console) -> None:
    from milepost.cli.summary import money

    console.print(f"[b]Customer {found.customer_id}[/b]")
    row = found.journey
    if row is None:
        console.print("Known by links or profiles alone: no touch yet.")
        return
    parts = [
        f"status [b]{row['status']}[/b]",
        f"stage now [b]{row['current_stage'] or '—'}[/b]",
        f"{row['touches']:,} touches",
        f"{row['conversions'] or 0:,} conversions",
    ]
    if row["booked_micros"] is not None:
        parts.append(f"booked {money(row['booked_micros'], row['currency'])}")
        parts.append(f"net {money(row['net_micros'], row['currency'])}")
    if row["account_id"]:
        parts.append(f"account {escape(row['account_id'])}")
    console.print(", ".join(parts))
    if row["shared"]:
        console.print("[yellow]A shared identifier: left out of counts, funnels and attribution.[/yellow]")


def _print_identities(found: Journey, console: Console) -> None:
    names = [_short(f"{row['namespace']}:{row['value']}") for row in found.identities]
    console.print(f"\n[b]Known as[/b] {escape(', '.join(names))}", soft_wrap=True)
    joined = [link for link in found.links if link["status"] == "joined"]
    others = [link for link in found.links if link["status"] != "joined"]
    if joined:
        console.print("\n[b]One customer, because[/b]")
    elif len(names) == 1:
        console.print("No link has joined another identifier to it.")
    for link in joined:
        console.print(f"  {_link(link)}", soft_wrap=True)
    if others:
        console.print("\n[b]Not joined[/b]")
    for link in others:
        console.print(
            f"  {_link(link)}: [yellow]{escape(link['reason'] or link['status'])}[/yellow]", soft_wrap=True
        )
    console.print()


def _link(link: Row) -> str:
    evidence = f"{link['kind']} of {link['source']}" if link["kind"] else f"link fact {link['event_id']}"
    return escape(
        f"{_short(link['a'])} — {_short(link['b'])}, first seen {_minute(link['first_seen_at'])} ({evidence})"
    )


def _short(identifier: str) -> str:
    """Shorten the hash of a personal identifier: nobody reads 32 digits, and --json has them."""
    from schemas.vocabulary import load_vocabulary

    namespace, _, value = identifier.partition(":")
    words = load_vocabulary().namespaces.get(namespace)
    hashed = words is not None and words.personal is not None and _CUSTOMER_ID.fullmatch(value)
    return f"{namespace}:{value[:8]}…" if hashed else identifier


def _minute(moment: Any) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _timeline(touches: list[Row]) -> Table:
    from milepost.cli.summary import money

    table = plain_table(
        "Journey", "when (UTC)", "stage entered", "what", "where", "by", "amount", right=("amount",)
    )
    for touch in touches:
        amount = "" if touch["amount_micros"] is None else money(touch["amount_micros"], touch["currency"])
        what = str(touch["kind"])
        if touch["content"]:
            what += f": {touch['content']}"
        if touch["campaign_id"]:
            what += f" [campaign {touch['campaign_id']}]"
        if touch["not_booked_reason"]:
            what += f" (not booked: {touch['not_booked_reason']})"
        table.add_row(
            _minute(touch["occurred_at"]),
            f"[b]{touch['entered_stage']}[/b]" if touch["entered_stage"] else "",
            escape(what),
            touch["channel"],
            touch["team"],
            f"[b]{amount}[/b]" if touch["books"] else amount,
        )
    return table
