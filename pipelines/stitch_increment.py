"""The incremental stitch: fold the units that new facts touch, before and after, and stage what differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import polars as pl

from milepost.numbering import UInt64Array
from milepost.path_models import add_up, channel_credits
from milepost.spend import share_spend, spend_table
from milepost.stitch import Folded, Tables, fold_ledger, ledger_part, shaped
from milepost.unit_fold import UnitChange, UnitState, fold_change, fold_units
from milepost.units import Nodes, UnitFinder, node_hash
from pipelines.difference import unchanged
from pipelines.progress import report
from pipelines.staging import read_frames
from pipelines.stitch_rebuild import Spill, StitchSettings, run_marks, stage_violations, staged_schema
from schemas.contracts import FACT_TYPES
from schemas.tables import load_tables
from warehouse.audit import quarantine
from warehouse.places import Places, places_of
from warehouse.store import Store


@dataclass(frozen=True, eq=False)
class Touched:
    """The units that new facts touch.

    `units` are those of the store; unit `old[i]` becomes of unit `new[i]`; `nodes` with `node_units` are new.
    """

    units: UInt64Array
    old: UInt64Array
    new: UInt64Array
    nodes: UInt64Array
    node_units: UInt64Array
    finder: UnitFinder
    stored: pl.DataFrame

    def units_of(self, nodes: UInt64Array) -> pl.Series:
        """Give the unit of each node: where it has joined stored ones, the smallest of these."""
        return _keep_stored(self.finder.labels(nodes), self.stored)


def _keep_stored(labels: UInt64Array, stored: pl.DataFrame) -> pl.Series:
    """Replace labels of the finder by the stored unit that is kept: `stored` has `label`, `unit`."""
    found = pl.DataFrame({"label": labels}).join(stored, on="label", how="left", maintain_order="left")
    return found.select(pl.coalesce("unit", "label").alias("unit")).to_series()


class StitchIncrement(beam.DoFn):  # type: ignore[misc]
    """All new batches → the number of units that were folded; what changes is staged."""

    def __init__(self, settings: StitchSettings, home: str, store_url: str | None) -> None:
        self.settings = settings
        self.home = home
        self.store_url = store_url

    def process(self, element: Iterable[Spill]) -> Iterator[int]:
        with places_of(Path(self.home), self.store_url, reading=True) as places:
            facts, nodes = _read_spills(self.settings, sorted(element, key=lambda spill: spill.name))
            yield stitch_increment(self.settings, places, facts, nodes)


def _read_spills(
    settings: StitchSettings, spills: list[Spill]
) -> tuple[dict[str, pl.DataFrame], list[Nodes]]:
    staging = settings.staging
    facts, nodes = {}, []
    for name in FACT_TYPES:
        frames = []
        for spill in (spill for spill in spills if spill.fact_type == name):
            arrays = [
                np.load(staging.path("nodes", f"{spill.name}.{part}.npy"))
                for part in ("keys", "rows", "names")
            ]
            path = staging.path("spill", f"{spill.name}.parquet")
            frames.append(
                read_frames([path], staged_schema(name, settings.vocabulary)).with_columns(
                    pl.Series("key", arrays[0])
                )
            )
            nodes.append(Nodes(*arrays))
        schema = staged_schema(name, settings.vocabulary)
        facts[name] = pl.concat(frames) if frames else pl.DataFrame(schema=schema)
    return facts, nodes


def stitch_increment(
    settings: StitchSettings,
    places: Places,
    facts: Mapping[str, pl.DataFrame],
    nodes: list[Nodes],
) -> int:
    """Stage what new facts change; give the number of units folded.

    Args:
        settings: of the run.
        places: the facts and tables so far; they are only read.
        facts: new ones by type, every type there is, with `key` and a `unit` that this function sets.
        nodes: what they name.
    """
    vocabulary, rules, store = settings.vocabulary, settings.rules, places.store
    touched = find_touched(nodes, store)
    known = store.load_facts(touched.units)
    report(settings.run_id, "largest unit", _largest(known))
    before = {
        name: _marked(frame, touched.units_of(frame.get_column("unit").to_numpy()), name, settings, new=False)
        for name, frame in known.items()
    }
    added = {
        name: _marked(frame, touched.units_of(frame.get_column("key").to_numpy()), name, settings, new=True)
        for name, frame in facts.items()
    }
    change = fold_change(before, added, quarantine, vocabulary, rules)
    old, new = change.old, change.new
    report(settings.run_id, "folded", sum(frame.height for frame in added.values()))
    across = _Across(settings, places, touched, change)
    old_tables = _shaped({**old.tables, **across.old_tables})
    new_tables = _shaped({**new.tables, **across.new_tables})
    for name, frame in old_tables.items():
        _stage_difference(settings, name, frame, new_tables[name])
    _stage_facts(settings, change)
    _stage_path_counts(settings, store, old.folded, new.folded)
    _stage_touched(settings, touched)
    staging = settings.staging
    stage_violations(settings, new_tables, "increment")
    staging.write(new.fates, "fates", "increment")
    staging.write(new.rejected, "rejected", "increment")
    staging.write(new.quarantined, "quarantined", "increment")
    return len(np.unique(touched.finder.labels(touched.finder.nodes())))


def _largest(facts: Mapping[str, pl.DataFrame]) -> int:
    """Give the number of facts of the largest unit."""
    units = pl.concat([frame.get_column("unit") for frame in facts.values()])
    largest: int = units.value_counts().get_column("count").max() or 0  # type: ignore[assignment]
    return largest


def _shaped(tables: Tables) -> Tables:
    return {name: shaped(name, frame) for name, frame in tables.items()}


def find_touched(nodes: list[Nodes], store: Store) -> Touched:
    """Find the stored units that new facts touch, and join what the facts join."""
    finder = UnitFinder()
    for batch in nodes:
        finder.add(batch)
    named = finder.named()
    known = store.units_of(finder.nodes())
    units = known.get_column("unit").unique().to_numpy()
    # A unit's label is a node too: joining what is known with its label joins new facts and stored ones.
    finder.join(known.get_column("node").to_numpy(), known.get_column("unit").to_numpy())
    stored = (
        pl.DataFrame({"label": finder.labels(units), "unit": units})
        .group_by("label")
        .agg(pl.col("unit").min())
    )
    kept = _keep_stored(finder.labels(units), stored).to_numpy()
    moved = kept != units
    new_names = named[~np.isin(named, known.get_column("node").to_numpy())]
    node_units = _keep_stored(finder.labels(new_names), stored).to_numpy()
    return Touched(units, units[moved], kept[moved], new_names, node_units, finder, stored)


def _marked(
    facts: pl.DataFrame, units: pl.Series, name: str, settings: StitchSettings, *, new: bool
) -> pl.DataFrame:
    """Give facts their marks and the types of staged ones."""
    schema = staged_schema(name, settings.vocabulary)
    marked = facts.with_columns(units.alias("unit").cast(pl.UInt64)).select(list(schema)).cast(schema)
    return marked.with_columns(run_marks(settings, new=new))


class _Across:
    """The tables that depend on more than the touched units: spend, its shares, ledgers, money, channels."""

    def __init__(
        self,
        settings: StitchSettings,
        places: Places,
        touched: Touched,
        change: UnitChange,
    ) -> None:
        self.settings, self.touched, self.changed = settings, touched, change.changed
        self.store, self.warehouse = places.store, places.warehouse
        old, new = change.old, change.new
        self.tables = load_tables()
        days = self._changed_days(old, new)
        old_shares, new_shares = self._shares(days, old, new)
        others = self._others_with_changed_costs(old_shares, new_shares, old, new)
        before, after, *same = [
            self._with_ledger(one) for one in (old.folded, new.folded, others) if one is not None
        ]
        published = self._published_shares([before, after, *same], days)
        self.old_tables = self._ledgers([before, *same], old_shares, published)
        self.new_tables = self._ledgers([after, *same], new_shares, published)
        self.old_tables["spend_shares"], self.new_tables["spend_shares"] = old_shares, new_shares
        spend_before, spend_after = self._spend(days, old, new)
        self.old_tables["spend"] = spend_before
        self.new_tables["spend"] = spend_table(spend_after, new_shares, settings.rules).table

    def _changed_days(self, old: UnitState, new: UnitState) -> pl.DataFrame:
        """Give the campaign-days whose touches or spend differ: `campaign_id`, `day`."""
        # A revision may move a touch or a spend elsewhere, so the ids alone do not say that nothing changed.
        touched = _differing(_campaign_touches(old), _campaign_touches(new))
        same = ["event_id", "campaign_id", "channel", "day", "amount_micros", "currency", "source"]
        spent = _differing(old.spend.select(same), new.spend.select(same))
        days = pl.concat([part.select("campaign_id", "day") for part in (*touched, *spent)])
        return days.filter(pl.col("campaign_id").is_not_null()).unique()

    def _spend(self, days: pl.DataFrame, old: UnitState, new: UnitState) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Give table `spend` as it was, and the facts of spend as they are.

        These are the rows of the changed days, and those without a campaign that changed.
        """
        schema = self.tables["spend"].polars_schema
        facts = ["event_id", "campaign_id", "channel", "day", "amount_micros", "currency", "source"]
        before = pl.DataFrame(schema=schema)
        if days.height:
            before = self.warehouse.rows_on("spend", days)
        homeless = [fold.spend.filter(pl.col("campaign_id").is_null()).select(facts) for fold in (old, new)]
        was, now = (
            homeless[0].cast(before.select(facts).schema),
            homeless[1].cast(before.select(facts).schema),
        )
        vanished = was.join(now, on=facts, how="anti", nulls_equal=True).get_column("event_id")
        if len(vanished):
            before = pl.concat([before, self.warehouse.rows_with("spend", "event_id", vanished)])
        on_days = pl.concat(
            [
                before.filter(pl.col("campaign_id").is_not_null()).join(old.spend, on="event_id", how="anti"),
                new.spend.join(days, on=["campaign_id", "day"], how="semi"),
            ],
            how="diagonal_relaxed",
        ).select(facts)
        return before, pl.concat(
            [on_days, now.join(was, on=facts, how="anti", nulls_equal=True)], how="vertical_relaxed"
        )

    def _shares(
        self, days: pl.DataFrame, old: UnitState, new: UnitState
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Give the shares of the changed days as they were and as they are."""
        schema = self.tables["spend_shares"].polars_schema
        if not days.height:
            return pl.DataFrame(schema=schema), pl.DataFrame(schema=schema)
        before = self.warehouse.rows_on("spend_shares", days)
        _, spend = self._spend(days, old, new)
        spend = spend.join(days, on=["campaign_id", "day"], how="semi")
        if not spend.height:
            return before, pl.DataFrame(schema=schema)
        touches = self.warehouse.touches_on(days)
        elsewhere = touches.join(old.folded.timeline, on="event_id", how="anti")
        here = new.folded.timeline.select(
            "event_id", "campaign_id", "occurred_at", pl.col("kind").cast(pl.String)
        )
        after = share_spend(spend, pl.concat([elsewhere, here]), self.settings.vocabulary)
        return before, shaped("spend_shares", after)

    def _others_with_changed_costs(
        self, before: pl.DataFrame, after: pl.DataFrame, old: UnitState, new: UnitState
    ) -> Folded | None:
        """Fold the untouched units whose handovers' costs change with the shares of their touches."""
        same = ["spend_id", "touch_id", "amount_micros", "currency"]
        changed = pl.concat(
            [before.join(after, on=same, how="anti"), after.join(before, on=same, how="anti")]
        ).get_column("touch_id")
        if not len(changed):
            return None
        known = pl.concat(
            [old.folded.timeline.get_column("event_id"), new.folded.timeline.get_column("event_id")]
        )
        changed = changed.filter(~changed.is_in(known.unique().implode())).unique()
        if not len(changed):
            return None
        offers = self.warehouse.offers_beside(changed)
        if not len(offers):
            return None
        units = self.store.units_of(node_hash(offers, "fact/")).get_column("unit").unique()
        # Units whose new facts all came to nothing are not folded, and are others too.
        units = units.filter(~self.touched.units_of(units.to_numpy()).is_in(self.changed.implode()))
        if not len(units):
            return None
        facts = self.store.load_facts(units.to_numpy())
        marked = {
            name: _marked(frame, frame.get_column("unit"), name, self.settings, new=False)
            for name, frame in facts.items()
        }
        return fold_units(marked, quarantine, self.settings.vocabulary, self.settings.rules).folded

    def _ledgers(self, states: Sequence[Folded], shares: pl.DataFrame, published: pl.DataFrame) -> Tables:
        """Fold the ledgers of folds; shares of changed days are as given, others as published."""
        tables = [
            fold_ledger(one, pl.concat([shares, published]), self.settings.vocabulary, self.settings.rules)
            for one in states
        ]
        if len(tables) == 1:
            return tables[0]
        return {name: pl.concat([shaped(name, one[name]) for one in tables]) for name in tables[0]}

    def _published_shares(self, states: Sequence[Folded], days: pl.DataFrame) -> pl.DataFrame:
        """Give the shares of ledgers' touches as published, changed days aside."""
        priced = [one.timeline.filter(pl.col("campaign_id").is_not_null()) for one in states]
        ids = pl.concat([one.get_column("event_id") for one in priced]).unique()
        if not len(ids):
            return self.tables["spend_shares"].empty()
        published = self.warehouse.rows_with("spend_shares", "touch_id", ids)
        return published.join(days, on=["campaign_id", "day"], how="anti")

    def _with_ledger(self, folded: Folded) -> Folded:
        """Leave only those touches in a fold's timeline that its ledger needs."""
        timeline, _ = ledger_part(folded, self.settings.vocabulary)
        return replace(folded, timeline=timeline)


def _differing(old: pl.DataFrame, new: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give the rows of each state that the other does not have; an `event_id` has one row."""
    in_old, in_new = unchanged(old, new, ["event_id"])
    return old.filter(~in_old), new.filter(~in_new)


def _campaign_touches(fold: UnitState) -> pl.DataFrame:
    return fold.folded.timeline.filter(pl.col("campaign_id").is_not_null()).select(
        "event_id", "campaign_id", pl.col("occurred_at").dt.date().alias("day"), "kind"
    )


#: Columns, never null, by which a warehouse without indexes finds rows that go sooner than by their key.
_FOUND_BY = {"touchpoints": ("occurred_at",)}


def _stage_difference(settings: StitchSettings, name: str, old: pl.DataFrame, new: pl.DataFrame) -> None:
    """Stage the keys of rows that go or change, and the rows that come or change."""
    if not old.height and not new.height:
        return
    stays_in_old, stays_in_new = unchanged(old, new, list(load_tables()[name].key))
    gone, coming = old.filter(~stays_in_old), new.filter(~stays_in_new)
    if gone.height:
        settings.staging.write(gone.select(*load_tables()[name].key, *_FOUND_BY.get(name, ())), "gone", name)
    if coming.height:
        settings.staging.write(coming, "tables", name, "increment")


def _stage_facts(settings: StitchSettings, change: UnitChange) -> None:
    """Stage facts that stand anew, and the event_ids of those that no longer do as they did."""
    for name in FACT_TYPES:
        coming, gone = change.new.standing[name].filter("is_new"), change.gone[name]
        if coming.height:
            settings.staging.write(
                coming.drop("is_new", "is_older", strict=False), "facts", name, "increment"
            )
        if len(gone):
            settings.staging.write(gone.to_frame(), "gone_facts", name)


def _stage_path_counts(settings: StitchSettings, store: Store, old: Folded, new: Folded) -> None:
    """Stage the counts of paths over all subjects, and the credits of channels that follow."""
    fewer = old.path_counts.with_columns(-pl.col("conversions"), -pl.col("amount_micros"))
    counts = add_up(pl.concat([store.path_counts(), fewer, new.path_counts]))
    settings.staging.write_whole(counts, "path_counts", "increment")
    credited = shaped("channel_credits", channel_credits(counts, settings.rules))
    settings.staging.write_whole(credited, "tables", "channel_credits", "increment")


def _stage_touched(settings: StitchSettings, touched: Touched) -> None:
    staging = settings.staging
    staging.write_array(touched.nodes, "named", "nodes.npy")
    staging.write_array(touched.node_units, "named", "units.npy")
    staging.write_array(touched.old, "merged", "old.npy")
    staging.write_array(touched.new, "merged", "new.npy")
