"""`simulate`: draws a market, lets it live, and writes a project with its source files and the truth."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from milepost.simulate import lists
from milepost.simulate.acquiring import acquire
from milepost.simulate.delivery import arrivals, stamp, write, write_by_year
from milepost.simulate.exports import EXPORTS
from milepost.simulate.ledger import Ledger
from milepost.simulate.naming import add_identifying_facts, name_touches
from milepost.simulate.owning import buy, live_with_it, subscribe
from milepost.simulate.selling import sell
from milepost.simulate.truth import identifiers_seen
from milepost.simulate.world import DAY, World, build_world

WITHDRAWN_SHARE = 0.01
TEMPLATE = Path(__file__).with_name("project")
#: Called with what is being done, and how many of how many steps are done.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SimulationSummary:
    """What was written: counts, and where."""

    customers: int
    accounts: int
    touchpoints: int
    records: int
    identifiers: int
    project: Path
    truth: Path


def live(
    world: World, rng: np.random.Generator
) -> tuple[pl.DataFrame, dict[str, pl.DataFrame], pl.DataFrame]:
    """Let the market live.

    Returns:
        happenings as `name_touches` gives them; the lists beside them by folder, each with `received`
        (second); the truth as `identifiers_seen` gives it.
    """
    ledger = Ledger()
    for chapter in (acquire, buy, subscribe, live_with_it, sell):
        chapter(world, rng, ledger)
    add_identifying_facts(world, ledger)
    consents, erasures, erased_at = lists.privacy(world, rng)
    until = pl.Series("until", erased_at)
    happenings = ledger.frame()
    happenings = happenings.filter(pl.col("at") <= until.gather(happenings["person"]))
    named = name_touches(world, rng, happenings)

    gone = np.flatnonzero(erased_at < np.iinfo(np.int64).max)
    matched = lists.matches(world, rng)
    matched = matched.filter(pl.col("at") <= until.gather(matched["person"]))
    wrong = matched.filter("wrong")
    # Some calls were logged with the wrong person: the CRM takes them back.
    withdrawn = named.filter(
        pl.col("kind").is_in(["call", "personal_email"])
        & pl.Series(rng.random(named.height) < WITHDRAWN_SHARE)
    ).with_columns((pl.col("at") + DAY).alias("at"))
    tables = {
        "ads_spend": lists.spend(world, rng),
        "media_plan": lists.exposures(world, rng),
        "campaigns": lists.campaigns(),
        "crm_accounts": lists.accounts(world, rng),
        "crm_links": matched.select(
            "match_id",
            "contact_id",
            "user_id",
            "checked",
            stamp("at").alias("matched_at"),
            stamp("at").alias("synced_at"),
            pl.col("at").alias("received"),
        ),
        "crm_corrections": wrong.with_columns((pl.col("at") + DAY).alias("at")).select(
            "match_id",
            "contact_id",
            "user_id",
            pl.lit("two people").alias("note"),
            stamp("at").alias("corrected_at"),
            stamp("at").alias("synced_at"),
            pl.col("at").alias("received"),
        ),
        "crm_withdrawn": withdrawn.select(
            pl.format("act{}", "number").alias("activity_id"),
            stamp("at").alias("withdrawn_at"),
            stamp("at").alias("synced_at"),
            pl.col("at").alias("received"),
        ),
        "consents": consents,
        "erasures": erasures,
    }
    # Somebody else's identifiers stay in the truth; of the erased nothing does.
    standing = named.join(withdrawn.select("number"), on="number", how="anti", maintain_order="left")
    truth = identifiers_seen(standing, matched.filter(~pl.col("wrong")))
    truth = truth.filter(~pl.col("true_customer").is_in(gone.tolist()) | pl.col("shared_device"))
    return named, tables, truth


def simulate(customers: int, seed: int, out: Path, progress: Progress | None = None) -> SimulationSummary:
    """Write a simulated market as a project that runs.

    Args:
        customers: how many people, at least 1. About 14 touchpoints each.
        seed: the same customers and seed give the same bytes.
        out: folder to write to: `milepost.yaml`, `mappings/`, `data/<source>/`, `truth/identifiers.parquet`. What an
            earlier simulation wrote there is replaced.
        progress: told about each step.

    Raises:
        ValueError: fewer than one customer.
        FileExistsError: the folder holds something that is no project of the simulator.
    """
    if customers < 1:
        raise ValueError(f"simulate at least 1 customer, not {customers}")
    _clear(out)
    steps = len(EXPORTS) + 3

    def tell(what: str, done: int) -> None:
        if progress is not None:
            progress(what, done, steps)

    tell("people and companies", 0)
    world = build_world(customers, seed)
    rng = np.random.default_rng((seed, 2))
    tell("their journeys", 1)
    named, tables, truth = live(world, rng)

    records = 0
    for done, export in enumerate(EXPORTS, start=2):
        tell(f"data/{export.folder}", done)
        mine = named.filter(pl.col("system") == export.system)
        if export.only is not None:
            mine = mine.filter(export.only)
        role = world.identifiers["role"].gather(mine["person"])
        mine = mine.with_columns(
            role, pl.when(role == "decision maker").then(pl.lit("yes")).alias("key_contact")
        )
        delivered = arrivals(rng, mine)
        rows = delivered.select(export.columns())
        records += write_by_year(rows, delivered["received"], out / "data" / export.folder, export.suffix)
    tell("lists and truth", steps - 1)
    for folder, table in tables.items():
        records += write_by_year(table.drop("received"), table["received"], out / "data" / folder, ".csv")
    truth_file = out / "truth" / "identifiers.parquet"
    write(truth, truth_file)
    shutil.copytree(TEMPLATE, out, dirs_exist_ok=True)
    tell("done", steps)
    return SimulationSummary(
        customers=customers,
        accounts=world.accounts,
        touchpoints=named.height,
        records=records,
        identifiers=truth.height,
        project=out,
        truth=truth_file,
    )


def _clear(out: Path) -> None:
    """Make room for a project: remove an earlier simulation, refuse to touch anything else."""
    marks = ("milepost.yaml", "mappings", "data", "truth", "README.md")
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / "truth" / "identifiers.parquet").exists()):
        raise FileExistsError(
            f"{out}: holds something else; name a folder that is new, or one that a simulation wrote"
        )
    for mark in marks:
        target = out / mark
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
