"""The simulated market: deterministic, complete in its kinds, delivered as badly as real systems deliver."""

from __future__ import annotations

import hashlib
from pathlib import Path

import phonenumbers
import polars as pl
import pytest

from connectors.mapping.statement import read_statement
from milepost.project import load_project
from milepost.simulate import SimulationSummary, simulate
from schemas.contracts import FACT_TYPES
from schemas.vocabulary import load_vocabulary
from tests.simulate.raw import mapped, sources, touchpoints


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        simulate(customers=300, seed=seed, out=tmp_path / name)
    one, again, other = (digests(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert one["truth/identifiers.parquet"] != other["truth/identifiers.parquet"]


def test_what_an_earlier_simulation_wrote_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "market"
    simulate(customers=50, seed=1, out=out)
    (out / "data" / "web" / "1999.jsonl.gz").write_bytes(b"")
    simulate(customers=50, seed=1, out=out)
    assert not (out / "data" / "web" / "1999.jsonl.gz").exists()
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="holds something else"):
        simulate(customers=50, seed=1, out=tmp_path)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize("customers", [1, 2, 5, 40])
def test_a_very_small_market_is_a_market(tmp_path: Path, customers: int) -> None:
    summary = simulate(customers=customers, seed=2, out=tmp_path / "small")
    assert summary.customers == customers
    assert touchpoints(tmp_path / "small").height >= summary.touchpoints > 0


def test_no_customers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        simulate(customers=0, seed=1, out=tmp_path / "none")


def test_progress_is_told_up_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    simulate(
        customers=20,
        seed=1,
        out=tmp_path / "told",
        progress=lambda what, done, of: told.append((what, done, of)),
    )
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1][1] == told[-1][2]


def test_every_kind_occurs(project: Path) -> None:
    assert set(touchpoints(project)["kind"].unique()) == set(load_vocabulary().kinds)


def test_every_type_of_fact_occurs(project: Path) -> None:
    types = {source.get("fact", "touchpoint") for source in sources(project).values()}
    assert types == set(FACT_TYPES)
    for name in sources(project):
        if name != "crm_corrections":  # wrong matches are rare
            assert mapped(project, name).height > 0, name


def test_the_configuration_loads_and_all_its_mappings_are_allowed(project: Path) -> None:
    loaded = load_project(project)
    assert len(loaded.sources) == 20
    for source in loaded.sources.values():
        sql = loaded.mapping_sql(source)
        assert read_statement(sql, source.mapping, source.unit, frozenset(source.lookups)).text


def test_ids_are_given_by_every_mapping(project: Path) -> None:
    for name in sources(project):
        assert mapped(project, name)["native_id"].null_count() == 0, name


def test_five_percent_come_twice_later_and_otherwise_the_same(
    market: SimulationSummary, project: Path
) -> None:
    delivered = touchpoints(project)
    copies = delivered.group_by("system", "native_id").agg(
        pl.len(), pl.struct("kind", "occurred_at").n_unique().alias("forms"), pl.col("received_at").n_unique()
    )
    assert copies.height == market.touchpoints
    assert copies["forms"].max() == 1
    assert copies["len"].max() == 2
    assert copies.filter(pl.col("len") == 2)["received_at"].min() == 2
    assert 0.04 < (delivered.height - copies.height) / copies.height < 0.06


def test_files_are_out_of_order_and_some_records_years_late(project: Path) -> None:
    delivered = touchpoints(project)
    delay = delivered["received_at"] - delivered["occurred_at"]
    assert delay.min() > pl.Series([0]).cast(pl.Duration("us"))[0]
    assert (delay.dt.total_days() > 365).sum() > 10
    web = mapped(project, "web")["occurred_at"]
    assert not web.is_sorted()


def test_the_funnel_narrows(project: Path) -> None:
    kinds = touchpoints(project).group_by("kind").len().rows()
    count = dict(kinds)
    assert count["ad_impression_display"] > 10 * count["ad_click_display"]
    assert count["email_sent"] > count["email_opened"] > count["email_clicked"]
    assert count["handover"] > count["handover_accepted"] > count["handover_rejected"]
    assert count["opportunity_created"] > count["opportunity_won"]
    assert count["order"] > 10 * count["refund"]


def test_one_deal_is_reported_by_several_systems(project: Path) -> None:
    crm = mapped(project, "crm_activities").filter(
        pl.col("kind").is_in(["contract_signed", "opportunity_won"])
    )
    billing = mapped(project, "billing").filter(pl.col("booking_number") == 0)
    assert crm.group_by("deal").agg(pl.col("kind").n_unique())["kind"].min() == 2
    assert set(billing.filter(pl.col("kind") == "payment")["deal"]) <= set(crm["deal"])


def test_addresses_and_numbers_are_nobodys(market: SimulationSummary) -> None:
    truth = pl.read_parquet(market.truth)
    emails = truth.filter(pl.col("namespace") == "email")["value"]
    assert emails.str.ends_with(".test").all()
    for number in truth.filter(pl.col("namespace") == "phone")["value"]:
        assert phonenumbers.is_valid_number(phonenumbers.parse(number)), number
        assert "555" in number or number.startswith("+33"), number


def test_the_truth_has_each_identifier_once_and_terminals_many_users(
    market: SimulationSummary, project: Path
) -> None:
    truth = pl.read_parquet(market.truth)
    assert truth.select("namespace", "value").is_unique().all()
    assert truth["true_customer"].n_unique() <= market.customers
    users = (
        mapped(project, "web")
        .drop_nulls("cookie")
        .group_by("cookie")
        .agg(pl.col("user").n_unique().alias("users"))
    )
    most = users.sort("users").row(-1, named=True)
    limit = load_vocabulary().namespaces["cookie"].max_links
    assert limit is not None
    assert most["users"] > limit
    terminal = truth.filter((pl.col("namespace") == "cookie") & (pl.col("value") == most["cookie"]))
    assert terminal["shared_device"].to_list() == [True]
