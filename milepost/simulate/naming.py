"""Which identifiers each happening carries: what the system that recorded it could see."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from milepost.simulate.ledger import COLUMNS, Ledger
from milepost.simulate.world import DAY, END, HOUR, INTENT, Integers, World

#: The system that records a kind. Payments, refunds and referrals go by who the customer is.
SYSTEMS: dict[str, tuple[str, ...]] = {
    "ads": (
        "ad_impression_display",
        "ad_click_display",
        "ad_impression_social",
        "ad_click_social",
        "ad_impression_video",
        "ad_click_video",
        "search_ad_click",
        "social_engagement",
    ),
    "web": (
        "search_visit",
        "site_visit",
        "pricing_page_visit",
        "content_downloaded",
        "review_read",
        "sign_up",
        "enquiry",
        "print_answered",
        "radio_answered",
        "outdoor_answered",
    ),
    "mail": (
        "email_sent",
        "email_opened",
        "email_clicked",
        "direct_mail_sent",
        "direct_mail_answered",
        "campaign_contact",
    ),
    "events": (
        "webinar_registered",
        "webinar_attended",
        "event_registered",
        "event_attended",
        "trade_show_registered",
        "trade_show_attended",
    ),
    "shop": ("order", "coupon_redeemed", "review_written"),
    "billing": ("subscription_started", "subscription_renewed", "subscription_cancelled"),
    "product": ("onboarding_step", "product_usage", "satisfaction_score"),
    "desk": ("ticket_opened", "ticket_answered", "ticket_resolved", "ticket_rated"),
}
BY_CUSTOMER = {"payment": ("billing", "shop"), "refund": ("billing", "shop"), "referral": ("crm", "shop")}
SYSTEM_OF_KIND = {kind: system for system, kinds in SYSTEMS.items() for kind in kinds}

NAMES = (
    "user",
    "crm_contact",
    "loyalty_card",
    "email",
    "phone",
    "social_handle",
    "push_token",
    "device",
    "cookie",
)

#: How often each way of being recognised occurs.
LOGGED_IN_SHARE = 0.5
KIOSK_VISIT_SHARE = 0.3
ANONYMOUS_KIOSK_SHARE = 0.03
#: Visits on a family's tablet that name somebody without a log-in: a newsletter read over another's
#: shoulder. They can make one person of two, which costs precision.
CARELESS_SHARE = 0.008
#: In one of so many companies people ask from the company's mailbox, which knows no person.
COMPANIES_PER_MAILBOX = 300
MAILBOX_SHARE = 0.7
#: Cookies live about so long; after that the same browser has a new one.
COOKIE_LIFE = 420 * DAY
BLOCKED_COOKIE_SHARE = 0.002


def add_identifying_facts(world: World, ledger: Ledger) -> None:
    """Write down what only links identifiers: CRM contact records, registered loyalty cards, log-ins in the app."""
    people = world.identifiers

    def who(column: str) -> Integers:
        return np.flatnonzero(people[column].is_not_null().to_numpy())

    contacts = who("crm_contact")
    met = np.minimum(world.reached[INTENT][contacts] - 5 * DAY, END - DAY)
    ledger.add(
        "identify", contacts, met, where="crm", account=world.account[contacts], content="contact created"
    )
    cards = np.flatnonzero((people["loyalty_card"].is_not_null() & people["card_registered"]).to_numpy())
    ledger.add("identify", cards, world.reached[4][cards] - HOUR, where="shop", content="card registered")
    apps = who("device")
    ledger.add("identify", apps, world.signed_up_at[apps] + 3 * DAY, where="product", content="app login")


def _mixed(seed: int, *parts: Integers) -> npt.NDArray[np.uint64]:
    """Mix integers into 64 bits that look random and stay the same everywhere (SplitMix64)."""
    state = np.full(len(parts[0]), (seed * 0x9E3779B97F4A7C15 + 1) & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    for part in parts:
        state = (state ^ part.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def _cookies(world: World, rng: np.random.Generator, touches: pl.DataFrame) -> pl.DataFrame:
    """Add `cookie` and `in_app` (the tracker saw the app's installation instead)."""
    person, at = touches["person"].to_numpy(), touches["at"].to_numpy()
    count = len(person)
    # 0: the own computer, 1: a second browser or the family's tablet, 2: a third, or the app.
    devices = np.where(_mixed(world.seed, person) % np.uint64(100) < np.uint64(55), 1, 3)
    slot = np.minimum(rng.choice(3, size=count, p=(0.64, 0.28, 0.08)), devices - 1).astype(np.int64)
    family, kiosk = world.family[person], world.kiosk[person]
    slot[(family >= 0) & (rng.random(count) < 0.3)] = 1
    # Who names themselves without a log-in does so on a device of their own, nearly always.
    careful = (touches["logged_in"].not_() & touches["names_email"]).to_numpy()
    slot[(family >= 0) & careful & (rng.random(count) >= CARELESS_SHARE)] = 0
    on_family = (family >= 0) & (slot == 1)
    at_terminal = np.where(touches["logged_in"].to_numpy(), KIOSK_VISIT_SHARE, ANONYMOUS_KIOSK_SHARE)
    on_kiosk = (
        (kiosk >= 0) & (touches["system"] == "web").to_numpy() & ~careful & (rng.random(count) < at_terminal)
    )
    has_app = touches["device"].is_not_null().to_numpy()
    uses_app = rng.random(count) < 0.2
    in_app = uses_app & has_app & touches["logged_in"].to_numpy() & ~on_kiosk
    owner = np.where(on_kiosk, kiosk, np.where(on_family, family, person))
    sort = np.where(on_kiosk, 2, np.where(on_family, 1, 0))
    # Each browser forgets at its own time.
    born = _mixed(world.seed, owner, sort, slot) % np.uint64(COOKIE_LIFE)
    generation = np.where(sort == 0, (at + born.astype(np.int64)) // COOKIE_LIFE, 0)
    number = _mixed(world.seed, owner, sort * 8 + np.where(sort == 0, slot, 0), generation)
    text = pl.DataFrame({"high": number >> np.uint64(32), "low": number & np.uint64(0xFFFFFFFF)}).select(
        pl.format("GA1.{}.{}", pl.col("high"), pl.col("low"))
    )
    return touches.with_columns(
        text.to_series().alias("cookie"),
        pl.Series("in_app", in_app),
    )


def name_touches(world: World, rng: np.random.Generator, happenings: pl.DataFrame) -> pl.DataFrame:
    """Add the recording `system` and the identifiers that it saw; what nobody could be recognised by was not recorded.

    Result: the columns of the ledger, `number` (a running number), `system`, `business` (boolean) and one text
    column for each of `NAMES`, null where not seen.
    """
    people = world.identifiers
    person = happenings["person"]
    business = pl.Series("business", world.business).gather(person)
    system = pl.col("kind").replace_strict(SYSTEM_OF_KIND, default="crm")
    for kind, (companies, consumers) in BY_CUSTOMER.items():
        ours = pl.when("business").then(pl.lit(companies)).otherwise(pl.lit(consumers))
        system = pl.when(pl.col("kind") == kind).then(ours).otherwise(system)
    system = pl.when(pl.col("kind") == "identify").then(pl.col("where")).otherwise(system)

    count = happenings.height
    luck = {
        f"luck_{name}": rng.random(count)
        for name in ("login", "second", "phone", "mail", "mailbox", "blocked")
    }
    known = people.select(*NAMES[:-1], "second_user", "second_email")[person]
    signed_up_at = pl.Series("signed_up_at", world.signed_up_at).gather(person)
    frame = happenings.hstack(known).with_columns(
        pl.int_range(pl.len()).alias("number"),
        business,
        signed_up_at,
        pl.Series("company", world.account).gather(person),
        pl.Series("twice", world.second_user).gather(person),
        *(pl.Series(name, values) for name, values in luck.items()),
    )
    frame = frame.with_columns(system.alias("system")).with_columns(
        (
            (pl.col("at") >= pl.col("signed_up_at"))
            & ((pl.col("luck_login") < LOGGED_IN_SHARE) | (pl.col("kind") == "sign_up"))
        ).alias("logged_in"),
        pl.col("kind")
        .is_in(["sign_up", "enquiry", "content_downloaded", "email_clicked", "order"])
        .alias("names_email"),
    )
    frame = _cookies(world, rng, frame)
    return _seen(frame)


def _seen(frame: pl.DataFrame) -> pl.DataFrame:
    """Keep, of everything that could identify somebody, what the recording system saw."""
    kind, where = pl.col("kind"), pl.col("system")
    second = pl.col("twice") & (
        (pl.col("where") == "second user").fill_null(value=False)
        | (
            (kind == "site_visit")
            & (pl.col("at") > pl.col("signed_up_at") + 330 * DAY)
            & (pl.col("luck_second") < 0.5)
        )
    )
    user = pl.when(second).then("second_user").otherwise("user")
    email = pl.when(second).then("second_email").otherwise("email")
    mailbox = (
        (kind == "enquiry")
        & (pl.col("company") >= 0)
        & (pl.col("company") % COMPANIES_PER_MAILBOX == 7)
        & (pl.col("luck_mailbox") < MAILBOX_SHARE)
    )
    info = pl.col("email").str.replace(r"^[^@]*", "info")
    signed = pl.col("at") >= pl.col("signed_up_at")
    on_site = where == "web"
    online = (kind == "order") & (pl.col("where") != "shop").fill_null(value=True)
    in_shop = where == "shop"
    by_card = (kind == "order") & (pl.col("where") == "shop")
    links_card = (kind == "identify") & in_shop
    links_app = (kind == "identify") & (where == "product")
    links_contact = (kind == "identify") & (where == "crm")
    rarely, mostly = pl.col("luck_phone") < 0.3, pl.col("luck_mail") < 0.7
    guest = (in_shop & signed.not_()) | ((where == "billing") & signed.not_() & pl.col("business").not_())
    seen = {
        "user": (on_site & pl.col("logged_in"))
        | (in_shop & signed & by_card.not_() & links_card.not_())
        | ((where == "billing") & signed & pl.col("business").not_())
        | ((where == "product") & signed)
        | ((where == "desk") & signed & rarely),
        "crm_contact": (where == "crm")
        | ((where == "billing") & pl.col("business"))
        | ((kind == "onboarding_step") & mostly),
        "loyalty_card": by_card | links_card,
        "email": (on_site & (kind.is_in(["sign_up", "enquiry"]) | ((kind == "content_downloaded") & mostly)))
        | (where == "mail")
        | (where == "events")
        | guest
        | (online & mostly)
        | links_card
        | links_contact
        | ((where == "crm") & ((kind == "personal_email") | pl.col("crm_contact").is_null()))
        | ((where == "desk") & mostly)
        | ((where == "product") & signed.not_())
        | ((where == "billing") & pl.col("crm_contact").is_null()),
        "phone": links_contact
        | ((where == "desk") & mostly.not_())
        | ((where == "crm") & kind.is_in(["call", "telemarketing_call"]))
        | ((where == "events") & rarely),
        "social_handle": kind == "social_engagement",
        "push_token": links_app | ((kind == "product_usage") & rarely),
        "device": links_app | (on_site & pl.col("in_app")) | ((kind == "product_usage") & rarely),
        "cookie": ((where == "ads") & ((kind != "social_engagement") | pl.col("social_handle").is_null()))
        | (on_site & pl.col("in_app").not_())
        | (kind == "email_clicked")
        | (online & signed.not_()),
    }
    values = {"user": user, "email": pl.when(mailbox).then(info).otherwise(email)}
    blocked = (where == "web") & pl.col("logged_in").not_() & (pl.col("luck_blocked") < BLOCKED_COOKIE_SHARE)
    values["cookie"] = pl.when(blocked).then(pl.lit("(not set)")).otherwise("cookie")
    named = frame.with_columns(
        *(pl.when(seen[name]).then(values.get(name, pl.col(name))).alias(name) for name in NAMES),
    )
    return named.filter(
        pl.any_horizontal(pl.col(name).is_not_null() for name in NAMES) | (pl.col("account") >= 0)
    ).select(*COLUMNS, "number", "system", "business", *NAMES)
