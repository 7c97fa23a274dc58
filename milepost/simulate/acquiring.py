"""From the first ad to the enquiry: what marketing does with everybody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from milepost.simulate.ledger import Ledger, pick, poisson_times
from milepost.simulate.world import (
    AWARENESS,
    CONSIDERATION,
    CONVERSION,
    DAY,
    END,
    FIRST_KINDS,
    HOUR,
    INTENT,
    Integers,
    World,
)


@dataclass(frozen=True)
class Habit:
    """How often a kind happens to one person in one phase: mean counts for consumers and for people in business."""

    kind: str
    phase: int
    consumers: float
    business: float
    campaign_channel: str | None = None
    content: tuple[str, ...] = ()


PAGES = ("/", "/product", "/customers", "/about", "/blog/how-to-choose", "/compare")
PAPERS = ("buyer guide", "white paper", "price list", "calculator")

HABITS = (
    Habit("ad_impression_display", AWARENESS, 1.3, 1.2, "display"),
    Habit("ad_click_display", AWARENESS, 0.10, 0.10, "display"),
    Habit("ad_impression_social", AWARENESS, 1.0, 0.5, "social"),
    Habit("ad_click_social", AWARENESS, 0.10, 0.06, "social"),
    Habit("ad_impression_video", AWARENESS, 0.5, 0.3, "video"),
    Habit("ad_click_video", AWARENESS, 0.04, 0.03, "video"),
    Habit("print_answered", AWARENESS, 0.010, 0.015, "print", ("QR code",)),
    Habit("radio_answered", AWARENESS, 0.012, 0.005, "radio", ("promotion code",)),
    Habit("outdoor_answered", AWARENESS, 0.012, 0.005, "outdoor", ("QR code",)),
    Habit("search_visit", AWARENESS, 0.35, 0.4, None, ("/blog/how-to-choose", "/")),
    Habit("search_ad_click", AWARENESS, 0.20, 0.25, "paid_search"),
    Habit("social_engagement", AWARENESS, 0.25, 0.10, "social", ("like", "comment", "share")),
    Habit("direct_mail_sent", AWARENESS, 0.12, 0.10, "direct_mail"),
    Habit("campaign_contact", AWARENESS, 0.06, 0.02, "direct_mail"),
    Habit("email_sent", AWARENESS, 0.3, 0.4, "email"),
    Habit("telemarketing_call", AWARENESS, 0.01, 0.25, "telephone"),
    Habit("ad_impression_display", CONSIDERATION, 0.8, 0.8, "display"),
    Habit("ad_impression_social", CONSIDERATION, 0.6, 0.3, "social"),
    Habit("search_visit", CONSIDERATION, 0.4, 0.5, None, ("/compare", "/product")),
    Habit("email_sent", CONSIDERATION, 0.8, 1.6, "email"),
    Habit("email_opened", CONSIDERATION, 0.35, 0.7, "email"),
    Habit("email_clicked", CONSIDERATION, 0.14, 0.30, "email", PAGES),
    Habit("direct_mail_answered", CONSIDERATION, 0.02, 0.02, "direct_mail"),
    Habit("content_downloaded", CONSIDERATION, 0.03, 0.6, "content", PAPERS),
    Habit("webinar_registered", CONSIDERATION, 0.005, 0.30, "webinar"),
    Habit("webinar_attended", CONSIDERATION, 0.003, 0.18, "webinar"),
    Habit("event_registered", CONSIDERATION, 0.01, 0.10, "event"),
    Habit("event_attended", CONSIDERATION, 0.006, 0.07, "event"),
    Habit("trade_show_registered", CONSIDERATION, 0.0, 0.15, "event"),
    Habit("trade_show_attended", CONSIDERATION, 0.0, 0.11, "event"),
    Habit("review_read", CONSIDERATION, 0.3, 0.2, None, ("stars and stories", "tried and rated")),
    Habit("site_visit", CONSIDERATION, 1.6, 2.0, None, PAGES),
    Habit("call", CONSIDERATION, 0.0, 0.3),
    Habit("personal_email", CONSIDERATION, 0.0, 0.5),
    Habit("pricing_page_visit", INTENT, 1.0, 0.9, None, ("/pricing",)),
    Habit("site_visit", INTENT, 1.2, 1.0, None, PAGES),
    Habit("email_sent", INTENT, 0.4, 0.6, "email"),
    Habit("email_clicked", INTENT, 0.15, 0.2, "email", PAGES),
    Habit("coupon_redeemed", INTENT, 0.10, 0.0, "promotion", ("TEN-OFF", "FREE-SHIPPING")),
    Habit("site_visit", CONVERSION, 2.5, 2.0, None, PAGES),
    Habit("email_sent", CONVERSION, 3.0, 2.5, "email"),
    Habit("email_opened", CONVERSION, 1.2, 1.0, "email"),
    Habit("email_clicked", CONVERSION, 0.4, 0.3, "email", PAGES),
    Habit("coupon_redeemed", CONVERSION, 0.3, 0.0, "promotion", ("THANK-YOU", "BIRTHDAY")),
)

#: How long somebody who goes no further stays within sight.
TAIL = {AWARENESS: 60 * DAY, CONSIDERATION: 60 * DAY, INTENT: 45 * DAY, CONVERSION: 500 * DAY}


def window(world: World, phase: int, people: Integers) -> tuple[Integers, Integers]:
    """Give when the phase of each of the people starts and stops, in seconds."""
    start = world.reached[phase][people]
    tail = np.minimum(start + TAIL[phase], END)
    if phase == CONVERSION:
        return start, tail
    goes_on = world.level[people] > phase
    return start, np.where(goes_on, world.reached[phase + 1][people], tail)


def acquire(world: World, rng: np.random.Generator, ledger: Ledger) -> None:
    """Write down ads, visits, mailings, events, sign-ups and enquiries of everybody."""
    everybody = np.arange(world.size)
    for number, kind in enumerate(FIRST_KINDS):
        met = everybody[world.first_kind == number]
        channel = next((habit.campaign_channel for habit in HABITS if habit.kind == kind), None)
        more: dict[str, str] = {} if channel is None else {"campaign_channel": channel}
        ledger.add(kind, met, world.reached[AWARENESS][met], **more)

    for habit in HABITS:
        for business, mean in ((False, habit.consumers), (True, habit.business)):
            people = everybody[(world.business == business) & (world.level >= habit.phase)]
            person, at = poisson_times(rng, people, *window(world, habit.phase, people), mean)
            columns: dict[str, str | pl.Series] = {}
            if habit.campaign_channel is not None:
                columns["campaign_channel"] = habit.campaign_channel
            if habit.content:
                columns["content"] = pick(rng, habit.content, len(person))
            if business and habit.kind in {"telemarketing_call", "call", "personal_email"}:
                columns["account"] = pl.Series(world.account[person])
            ledger.add(habit.kind, person, at, **columns)

    signed = everybody[world.signed_up_at < END]
    ledger.add("sign_up", signed, world.signed_up_at[signed], content="/sign-up")
    twice = everybody[world.second_user & (world.signed_up_at < END)]
    later = world.signed_up_at[twice] + rng.integers(30 * DAY, 300 * DAY, len(twice))
    ledger.add("sign_up", twice, later, content="/sign-up", where="second user")
    asking = everybody[
        (world.level >= INTENT) & (rng.random(world.size) < np.where(world.business, 0.6, 0.06))
    ]
    ledger.add(
        "enquiry",
        asking,
        world.reached[INTENT][asking] + rng.integers(0, 4 * HOUR, len(asking)),
        content=pick(rng, ("please call me", "what does it cost", "does it fit"), len(asking)),
    )
