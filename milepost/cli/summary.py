"""What a run came to, read from the published warehouse: fates, stages, conversions, channels, and what to try next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

from milepost.cli.console import plain_table
from milepost.cli.warehouse import Warehouse

#: The two models whose best channels are shown: one of each kind, which often disagree.
SHOWN_MODELS = ("last_touch", "markov")
BEST = 3

Fates = Mapping[str, Mapping[str, Mapping[str, int]]]


@dataclass(frozen=True)
class Stage:
    """A stage as `marketing.funnel` counts it; `rate` is the share of the stage before that continued to it."""

    stage: str
    label: str
    entered: int
    reached: int
    here_now: int
    rate: float | None
    in_source: bool


@dataclass(frozen=True)
class Booked:
    """Conversions in one currency, amounts in micros."""

    currency: str
    conversions: int
    booked_micros: int
    net_micros: int


@dataclass(frozen=True)
class Channel:
    """A channel that a model credits, amount in micros."""

    model: str
    channel: str
    label: str
    conversions: Decimal
    booked_micros: int
    currency: str


@dataclass(frozen=True)
class Summary:
    """What the published warehouse says about the whole."""

    warehouse: str
    published_at: str
    customers: int
    shared: int
    accounts: int
    fates: Fates
    stages: tuple[Stage, ...]
    booked: tuple[Booked, ...]
    untouched: int
    channels: tuple[Channel, ...]

    def as_json(self) -> dict[str, Any]:
        """Give it as a JSON document."""
        return asdict(self)


def summarise(warehouse: Warehouse) -> Summary:
    """Read the summary of a published warehouse. Shared customers are counted aside and in no stage."""
    publication = warehouse.rows(
        "SELECT published_at, fates FROM journey.publications ORDER BY published_at DESC LIMIT 1"
    )
    counts = warehouse.rows(
        "SELECT count(*) FILTER (WHERE NOT shared) AS customers, count(*) FILTER (WHERE shared) AS shared, "
        "(SELECT count(*) FROM journey.accounts) AS accounts FROM journey.journeys"
    )[0]
    booked = tuple(
        Booked(**row)
        for row in warehouse.rows(
            "SELECT currency, count(*) AS conversions, CAST(sum(amount_micros) AS BIGINT) AS booked_micros, "
            "CAST(sum(net_micros) AS BIGINT) AS net_micros "
            "FROM journey.conversions GROUP BY currency ORDER BY conversions DESC, currency"
        )
    )
    untouched = warehouse.rows(
        "SELECT count(DISTINCT conversion_id) AS conversions FROM journey.credits WHERE event_id = '(none)'"
    )
    return Summary(
        warehouse=str(warehouse.file),
        published_at=str(publication[0]["published_at"]) if publication else "",
        **counts,
        fates=json.loads(publication[0]["fates"] or "{}") if publication else {},
        stages=_stages(warehouse),
        booked=booked,
        untouched=untouched[0]["conversions"],
        channels=_channels(warehouse, booked[0].currency) if booked else (),
    )


def _stages(warehouse: Warehouse) -> tuple[Stage, ...]:
    in_source = {row["stage"] for row in warehouse.rows("SELECT DISTINCT stage FROM journey.touchpoints")}
    rows = warehouse.rows(
        "SELECT stage, label, entered, reached, here_now, continuation_rate FROM marketing.funnel ORDER BY position"
    )
    rates = [None, *(row["continuation_rate"] for row in rows)]
    return tuple(
        Stage(
            stage=row["stage"],
            label=row["label"],
            entered=row["entered"],
            reached=row["reached"],
            here_now=row["here_now"],
            rate=rate,
            in_source=bool(row["entered"]) or row["stage"] in in_source,
        )
        for row, rate in zip(rows, rates, strict=False)
    )


def _channels(warehouse: Warehouse, currency: str) -> tuple[Channel, ...]:
    found: list[Channel] = []
    for model in SHOWN_MODELS:
        rows = warehouse.rows(
            "SELECT model, channel, label, conversions, booked_micros, currency FROM marketing.channels "
            "WHERE model = ? AND currency = ? AND channel <> '(none)' AND conversions > 0 "
            "ORDER BY booked_micros DESC, channel LIMIT ?",
            model,
            currency,
            BEST,
        )
        found += [Channel(**row) for row in rows]
    return tuple(found)


def money(micros: int, currency: str) -> str:
    """Spell an amount of micros with its currency, to the hundredth."""
    return f"{currency} {Decimal(micros) / 1_000_000:,.2f}"


def print_summary(summary: Summary, console: Console) -> None:
    """Print the summary for people."""
    if summary.fates:
        console.print(fates_table(summary.fates))
    console.print(_stage_table(summary))
    accounts = f" and {summary.accounts:,} accounts" if summary.accounts else ""
    shared = f"; {summary.shared:,} shared identifiers are left out" if summary.shared else ""
    console.print(f"[b]{summary.customers:,}[/b] customers{accounts} have a journey{shared}.")
    for booked in summary.booked:
        console.print(
            f"[b]{booked.conversions:,}[/b] conversions booked [b]{money(booked.booked_micros, booked.currency)}[/b]"
            + (
                f", {money(booked.net_micros, booked.currency)} after refunds"
                if booked.net_micros != booked.booked_micros
                else ""
            )
        )
    if not summary.booked:
        console.print("No conversion yet: no touchpoint of a kind that books money has an amount.")
    if summary.untouched:
        console.print(
            f"Conversions without any touch before them: {summary.untouched:,}; no channel is credited."
        )
    if summary.channels:
        console.print(_channel_table(summary))
    console.print(f"Warehouse: [b]{summary.warehouse}[/b]", soft_wrap=True)


def fates_table(fates: Fates) -> Table:
    """Show what became of every record and fact, one row a source and unit; fates that nothing had are left out."""
    order = {
        "records": ("received", "mapped", "filtered", "rejected"),
        "facts": (
            "yielded",
            "accepted",
            "duplicate",
            "superseded",
            "conflict",
            "rejected",
            "quarantined",
            "erased",
        ),
    }
    table = plain_table("What became of the input", "source", "", "came in", "became", right=("came in",))
    for source, units in fates.items():
        shown = [unit for unit in order if sum(units.get(unit, {}).values())]
        # A source without news has one line that says so; what only gave its name to facts of others has none.
        for unit in shown or (["records"] if "records" in units else []):
            counted = units[unit]
            total, *rest = order[unit]
            became = ", ".join(f"{counted[name]:,} {name}" for name in rest if counted.get(name))
            table.add_row(source, unit, f"{counted.get(total, 0):,}", became or "—")
    return table


def _stage_table(summary: Summary) -> Table:
    numbers = ("entered", "here or further", "here now", "went on to it")
    table = plain_table("Journeys", "stage", *numbers, right=numbers)
    for stage in summary.stages:
        if not stage.in_source:
            table.add_row(stage.label, "absent in the source", "", "", "")
            continue
        rate = "" if stage.rate is None else f"{stage.rate:.1%}"
        table.add_row(stage.label, f"{stage.entered:,}", f"{stage.reached:,}", f"{stage.here_now:,}", rate)
    return table


def _channel_table(summary: Summary) -> Table:
    currency = summary.channels[0].currency
    numbers = ("conversions", "booked")
    table = plain_table(f"Best channels ({currency})", "model", "channel", *numbers, right=numbers)
    for channel in summary.channels:
        amount = money(channel.booked_micros, currency)
        table.add_row(channel.model, channel.label, f"{channel.conversions:,.1f}", amount)
    return table
