"""Companies: qualified leads, the handover to sales, opportunities won and lost, contracts, renewals, growth."""

from __future__ import annotations

import numpy as np
import polars as pl

from milepost.simulate.ledger import Ledger, pick
from milepost.simulate.owning import LEAVING_REASONS, numbered
from milepost.simulate.world import CONVERSION, CURRENCIES, DAY, HOUR, INTENT, Booleans, Integers, World

SELLERS = ("m. ahn", "s. bello", "t. cruz", "j. dahl", "r. evans")
MARKETERS = ("k. fuchs", "l. gomes")
PACKAGES = ("starter", "team", "enterprise")
REJECTED_BECAUSE = ("no budget", "wrong contact", "too small", "no reply")
LOST_BECAUSE = ("price", "missing feature", "went with another", "project stopped")
STAGES = ("discovery", "evaluation", "business case", "closing")
YEAR = 365 * DAY


class Deals:
    """The opportunities of a market, one per row; steps lie on the way from `start` to `close`."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        wanted = np.flatnonzero(world.account_level >= INTENT)
        # A fifth of them lost an opportunity before: it closes where the next one starts.
        before = wanted[rng.random(len(wanted)) < 0.2]
        self.account: Integers = np.concatenate([before, wanted])
        self.is_first: Booleans = np.arange(len(self.account)) < len(before)
        start = world.account_reached[INTENT][self.account]
        goal = world.account_reached[CONVERSION][self.account]
        wins = (world.account_level[self.account] == CONVERSION) & ~self.is_first
        lasts = np.where(
            wins, goal - start, rng.exponential(120 * DAY, len(start)).astype(np.int64) + 20 * DAY
        )
        self.start: Integers = np.where(self.is_first, start - lasts - 30 * DAY, start)
        self.lasts: Integers = lasts
        self.won: Booleans = wins
        self.lost: Booleans = ~wins & (self.is_first | (rng.random(len(wins)) < 0.65))
        self.by_sales: Booleans = rng.random(len(wins)) < 0.25
        self.id = numbered("OPP-", len(wins))
        self.deal = numbered("D-", len(wins))
        self.cents: Integers = (
            np.round(np.exp(rng.normal(7.5, 0.8, len(wins))) * np.sqrt(world.account_members[self.account]))
        ).astype(np.int64) * 1_000
        self.currency = pl.Series(CURRENCIES).gather(world.currency[world.account_first[self.account]])
        self.seller = pick(rng, SELLERS, len(wins))
        self.package = pick(rng, PACKAGES, len(wins))
        self._world, self._rng = world, rng

    def contact(self, rows: Integers) -> Integers:
        """Draw one of the company's people for each of the rows."""
        account = self.account[rows]
        among = (self._rng.random(len(rows)) * self._world.account_members[account]).astype(np.int64)
        return self._world.account_first[account] + among

    def step(
        self,
        ledger: Ledger,
        kind: str,
        rows: Integers,
        way: float,
        *,
        after: int = 0,
        priced: bool = False,
        **more: pl.Series | str | Integers | int,
    ) -> None:
        """Write down a step at a share `way` of each row's way (and so many seconds later)."""
        at = self.start[rows] + (self.lasts[rows] * way).astype(np.int64) + after
        columns: dict[str, pl.Series | str | Integers | int] = {
            "account": self.account[rows],
            "opportunity": self.id.gather(rows),
            "owner": self.seller.gather(rows),
            **more,
        }
        if priced:
            columns |= {"amount": self.cents[rows], "currency": self.currency.gather(rows)}
        ledger.add(kind, self.contact(rows), at, **columns)


def _hand_over(deals: Deals, rng: np.random.Generator, ledger: Ledger) -> None:
    count = len(deals.account)
    offered = np.flatnonzero(~deals.by_sales)
    deals.step(ledger, "lead_qualified", offered, 0.02, priced=True, owner=pick(rng, MARKETERS, len(offered)))
    deals.step(ledger, "handover", offered, 0.03, priced=True, owner=pick(rng, MARKETERS, len(offered)))
    rejected = np.zeros(count, dtype=np.bool_)
    rejected[offered] = rng.random(len(offered)) < 0.25
    again = np.flatnonzero(rejected)
    deals.step(ledger, "handover_rejected", again, 0.05, reason=pick(rng, REJECTED_BECAUSE, len(again)))
    deals.step(ledger, "handover", again, 0.09, priced=True, owner=pick(rng, MARKETERS, len(again)))
    deals.step(ledger, "handover_accepted", again, 0.10)
    deals.step(ledger, "handover_accepted", np.flatnonzero(~rejected & ~deals.by_sales), 0.05, after=HOUR)
    # Sales calls most of them back, quickly or not; some are never followed up.
    called = offered[rng.random(len(offered)) < 0.85]
    deals.step(ledger, "call", called, 0.105, after=7 * HOUR, content="first follow-up")
    deals.step(ledger, "personal_email", called[::2], 0.11, content="as discussed")
    deals.step(ledger, "meeting", np.flatnonzero(rng.random(count) < 0.8), 0.18, content="needs")
    recycled = np.flatnonzero(deals.lost & ~deals.by_sales & (rng.random(count) < 0.3))
    deals.step(ledger, "handover_recycled", recycled, 0.9, reason="not now")


def _win_or_lose(deals: Deals, rng: np.random.Generator, ledger: Ledger) -> None:
    every = np.arange(len(deals.account))
    deals.step(ledger, "opportunity_created", every, 0.12, priced=True, opportunity_stage=STAGES[0])
    deals.step(ledger, "demo_booked", every, 0.16, content="demo")
    missed = rng.random(len(every)) < 0.15
    deals.step(ledger, "demo_missed", every[missed], 0.22, reason="did not show up")
    deals.step(ledger, "demo_held", every[~missed], 0.24, content="demo")
    deals.step(ledger, "demo_held", every[missed][::2], 0.32, content="demo")
    for stage, way in zip(STAGES[1:], (0.35, 0.6, 0.82), strict=True):
        still = every[deals.won | (rng.random(len(every)) < 0.7)]
        deals.step(ledger, "opportunity_stage_changed", still, way, priced=True, opportunity_stage=stage)
    far = every[deals.won | (rng.random(len(every)) < 0.5)]
    deals.step(ledger, "proposal", far, 0.62, priced=True, content="proposal 1")
    deals.step(ledger, "negotiation", far[rng.random(len(far)) < 0.8], 0.75, content="price")
    sent = every[deals.won | (deals.lost & (rng.random(len(every)) < 0.3))]
    deals.step(ledger, "contract_sent", sent, 0.9, priced=True)
    deals.step(ledger, "contract_viewed", sent, 0.93)
    lost = every[deals.lost]
    deals.step(ledger, "contract_declined", sent[deals.lost[sent]], 0.97, reason="terms")
    deals.step(ledger, "opportunity_lost", lost, 1.0, reason=pick(rng, LOST_BECAUSE, len(lost)))


def _book(deals: Deals, rng: np.random.Generator, ledger: Ledger) -> None:
    """Write down what is booked: up to four systems report one deal; contracts of a few are paid in instalments."""
    won = np.flatnonzero(deals.won)
    booked = {"deal": deals.deal.gather(won), "products": deals.package.gather(won)}
    deals.step(ledger, "contract_signed", won, 1.0, after=0, priced=True, **booked)
    deals.step(ledger, "opportunity_won", won, 1.0, after=2 * HOUR, priced=True, **booked)
    deals.step(
        ledger, "payment", won[::2], 1.0, after=21 * DAY, priced=True, deal=deals.deal.gather(won[::2])
    )
    slowly = won[1::4]
    for number in (1, 2):
        deals.step(
            ledger,
            "payment",
            slowly,
            1.0,
            after=number * 90 * DAY,
            deal=deals.deal.gather(slowly),
            booking_number=number,
            amount=deals.cents[slowly] // 10,
            currency=deals.currency.gather(slowly),
        )
    back = won[rng.random(len(won)) < 0.04]
    deals.step(
        ledger,
        "refund",
        back,
        1.0,
        after=60 * DAY,
        deal=deals.deal.gather(back),
        amount=deals.cents[back] // 3,
        currency=deals.currency.gather(back),
        reason="credit note",
    )


def _keep_and_grow(deals: Deals, rng: np.random.Generator, ledger: Ledger) -> None:
    won = np.flatnonzero(deals.won)
    number_of = numbered("SUB-B", len(deals.account))
    subscription = {"subscription": number_of.gather(won)}
    deals.step(
        ledger,
        "subscription_started",
        won,
        1.0,
        after=DAY,
        priced=True,
        deal=deals.deal.gather(won),
        products=deals.package.gather(won),
        **subscription,
    )
    years = rng.geometric(0.2, len(won))
    for year in range(1, 6):
        stays = won[years > year]
        at = year * YEAR
        deals.step(
            ledger,
            "subscription_renewed",
            stays,
            1.0,
            after=at,
            priced=True,
            subscription=number_of.gather(stays),
            products=deals.package.gather(stays),
            deal=deals.deal.gather(stays),
            booking_number=100 + year,
        )
        leaves = won[years == year]
        deals.step(
            ledger,
            "subscription_cancelled",
            leaves,
            1.0,
            after=at,
            subscription=number_of.gather(leaves),
            reason=pick(rng, LEAVING_REASONS, len(leaves)),
        )
        deals.step(ledger, "account_review", stays, 1.0, after=at - 45 * DAY, content="yearly review")
        for kind, share in (("upsell", 0.25), ("cross_sell", 0.2)):
            grows = stays[rng.random(len(stays)) < share]
            deals.step(
                ledger,
                kind,
                grows,
                1.0,
                after=at - int(rng.integers(20, 200)) * DAY,
                amount=deals.cents[grows] // 4,
                currency=deals.currency.gather(grows),
                products=pick(
                    rng, ("seats",) if kind == "upsell" else ("analytics", "support plus"), len(grows)
                ),
                deal=pl.select(pl.format("{}-" + f"{kind}-{year}", deals.deal.gather(grows))).to_series(),
            )


def sell(world: World, rng: np.random.Generator, ledger: Ledger) -> None:
    """Write down what sales does with companies from the handover on."""
    deals = Deals(world, rng)
    _hand_over(deals, rng, ledger)
    _win_or_lose(deals, rng, ledger)
    _book(deals, rng, ledger)
    _keep_and_grow(deals, rng, ledger)
