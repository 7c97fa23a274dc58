"""The people and companies of a simulated market: who they are, how far they get, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import phonenumbers
import polars as pl

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

HOUR = 3_600
DAY = 24 * HOUR
#: The simulated years. Everything is in whole seconds since 1970, UTC.
START = int(datetime(2018, 1, 1, tzinfo=UTC).timestamp())
END = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
#: Exports stop here: what would arrive later has not arrived.
LAST_EXPORT = END + 60 * DAY

AWARENESS, CONSIDERATION, INTENT, CONVERSION = 1, 2, 3, 4

#: Share of customers whose way ends at each of the four levels: the funnel narrows.
CONSUMER_LEVELS = (0.30, 0.29, 0.15, 0.26)
COMPANY_LEVELS = (0.32, 0.28, 0.20, 0.20)
#: Mean seconds from one level to the next. A shop is quick, a committee is not.
CONSUMER_PACE = (9 * DAY, 4 * DAY, 2 * DAY)
COMPANY_PACE = (120 * DAY, 100 * DAY, 90 * DAY)

BUSINESS_SHARE = 0.30
CONTACTS_PER_ACCOUNT = 4
SIGN_UP_SHARE = {"consumer": 0.85, "business": 0.55}
#: People who sign up a second time with another address: two users, one person. The unique namespace
#: keeps them apart, which costs recall.
SECOND_USER_SHARE = 0.003
FAMILY_SHARE = 0.08
#: Signed-up consumers who now and then use the shop's own terminal, one for two thousand people.
KIOSK_SHARE = 0.12
COMPANIES_PER_SWITCHBOARD = 80
PHONE_SHARE = {"consumer": 0.20, "business": 0.70}

CURRENCIES = ("EUR", "USD", "GBP")
FIRST_NAMES = (
    "ada", "amara", "bo", "carmen", "chidi", "dara", "elif", "emil", "farah", "greta", "hana", "igor", "ines",
    "jonas", "kofi", "lena", "malik", "mei", "nora", "omar", "pia", "quentin", "rosa", "sven", "tariq", "uma",
    "vera", "wim", "xenia", "yuki", "zoe",
)  # fmt: skip
LAST_NAMES = (
    "adler", "bauer", "costa", "dubois", "eriksen", "fischer", "garcia", "haddad", "ito", "jansen", "kaya",
    "lopez", "moreau", "nowak", "okafor", "petrov", "quist", "rossi", "silva", "tanaka", "ueda", "varga",
    "weber", "xu", "yilmaz", "zeman",
)  # fmt: skip
ROLES = ("decision maker", "influencer", "user", "buyer")
#: What people first meet. Those whom display and video bring in were promised more than they get.
FIRST_KINDS = (
    "ad_impression_display",
    "ad_impression_social",
    "ad_impression_video",
    "search_visit",
    "search_ad_click",
    "campaign_contact",
    "email_sent",
    "radio_answered",
    "site_visit",
)
FIRST_KIND_SHARES = (0.24, 0.18, 0.09, 0.17, 0.12, 0.05, 0.06, 0.01, 0.08)
DISAPPOINTING = ("ad_impression_display", "ad_impression_video")


@dataclass(frozen=True)
class World:
    """Who lives in the market. Arrays are indexed by person, or by account where the name says so.

    `reached[k]` is the second at which a person reaches level k (1 to 4); only levels up to `level` count.
    `identifiers` has one row per person with the clear text of what may identify it (null where it has none).
    """

    seed: int
    business: Booleans
    account: Integers
    account_members: Integers
    account_first: Integers
    account_level: Integers
    account_reached: Integers
    level: Integers
    reached: Integers
    family: Integers
    kiosk: Integers
    signed_up_at: Integers
    second_user: Booleans
    first_kind: Integers
    disappointed: Booleans
    currency: Integers
    identifiers: pl.DataFrame

    @property
    def size(self) -> int:
        """How many people there are."""
        return len(self.level)

    @property
    def accounts(self) -> int:
        """How many companies there are."""
        return len(self.account_level)


def _levels_and_times(
    rng: np.random.Generator, count: int, shares: tuple[float, ...], pace: tuple[int, ...]
) -> tuple[Integers, Integers]:
    level = rng.choice(4, size=count, p=shares).astype(np.int64) + 1
    reached = np.zeros((5, count), dtype=np.int64)
    reached[AWARENESS] = rng.integers(START, END - 30 * DAY, size=count)
    for step, mean in enumerate(pace, start=CONSIDERATION):
        reached[step] = reached[step - 1] + HOUR // 4 + rng.exponential(mean, size=count).astype(np.int64)
    # What would lie beyond the end has not happened yet: those journeys are open.
    for step in (CONVERSION, INTENT, CONSIDERATION):
        level = np.where((level >= step) & (reached[step] >= END), step - 1, level)
    return level, reached


def _fictional_phones(count: int) -> list[str | None]:
    """Numbers of ranges that are reserved for fiction and yet valid in form: France's and North America's."""
    french = [f"+33{prefix}{n:04d}" for prefix in (26191, 35301, 46571, 53649, 63998) for n in range(10_000)]
    areas = [
        area
        for area in range(201, 990)
        if phonenumbers.is_valid_number(phonenumbers.PhoneNumber(1, int(f"{area}5550123")))
    ]
    american = [f"+1{area}555{n:04d}" for n in range(100, 200) for area in areas]
    numbers: list[str | None] = [*american, *french]
    return (numbers + [None] * max(0, count - len(numbers)))[:count]


def _identifiers(
    rng: np.random.Generator, business: Booleans, account: Integers, level: Integers, signed_up: Booleans
) -> pl.DataFrame:
    """Give the clear text of everything that may identify a person, one row per person."""
    count = len(level)
    consumer = ~business
    has_phone = rng.random(count) < np.where(business, PHONE_SHARE["business"], PHONE_SHARE["consumer"])
    phone_of = np.where(has_phone, np.cumsum(has_phone) - 1, -1)
    # In some companies all people share the switchboard's number, which is the first one's.
    company = np.flatnonzero(business & (account % COMPANIES_PER_SWITCHBOARD == 3))
    opens = np.concatenate(([True], account[1:] != account[:-1]))
    first_of = np.maximum.accumulate(np.where(opens, np.arange(count), 0))
    phone_of[company] = phone_of[first_of[company]]
    phones = pl.Series("phone", _fictional_phones(int(has_phone.sum())), dtype=pl.String)
    people = pl.DataFrame(
        {
            "n": np.arange(count),
            "first": pl.Series(FIRST_NAMES).gather(rng.integers(0, len(FIRST_NAMES), count)),
            "last": pl.Series(LAST_NAMES).gather(rng.integers(0, len(LAST_NAMES), count)),
            "account": account,
            "business": business,
            "user": signed_up,
            "contact": business & ((level >= CONSIDERATION) | (rng.random(count) < 0.3)),
            "card": consumer & (level == CONVERSION) & (rng.random(count) < 0.35),
            "card_registered": rng.random(count) < 0.8,
            "handle": consumer & (rng.random(count) < 0.12),
            "app": (rng.random(count) < 0.25) & signed_up,
            "mail": (level >= CONSIDERATION) | (rng.random(count) < 0.35),
            "role": pl.Series(ROLES).gather(rng.choice(4, size=count, p=(0.2, 0.3, 0.35, 0.15))),
        }
    )
    domain = (
        pl.when("business")
        .then(pl.format("company{}.test", pl.col("account")))
        .otherwise(pl.lit("customers.test"))
    )

    def only(flag: str, text: pl.Expr, name: str) -> pl.Expr:
        return pl.when(flag).then(text).alias(name)

    return people.select(
        "first",
        "last",
        "role",
        "card_registered",
        pl.when("mail")
        .then(pl.format("{}.{}{}@{}", pl.col("first"), pl.col("last"), pl.col("n"), domain))
        .alias("email"),
        pl.when("user")
        .then(pl.format("{}{}@second.test", pl.col("last"), pl.col("n")))
        .alias("second_email"),
        only("user", pl.format("u{}", pl.col("n") + 100_000), "user"),
        only("user", pl.format("u{}", pl.col("n") + 100_000_000), "second_user"),
        only("contact", pl.format("003{}", (pl.col("n") + 1).cast(pl.String).str.zfill(9)), "crm_contact"),
        only("card", pl.format("LC-{}", (pl.col("n") * 7 + 5_000_000)), "loyalty_card"),
        only("handle", pl.format("@{}_{}{}", pl.col("first"), pl.col("last"), pl.col("n")), "social_handle"),
        only("app", pl.format("ap-{}-{}", pl.col("n") % 97, pl.col("n")), "device"),
        only("app", pl.format("push:{}", pl.col("n") * 3 + 11), "push_token"),
        phones.gather(pl.Series(np.where(phone_of < 0, 0, phone_of)))
        .set(pl.Series(phone_of < 0), None)
        .alias("phone")
        if len(phones)
        else pl.lit(None, dtype=pl.String).alias("phone"),
    )


def build_world(customers: int, seed: int) -> World:
    """Draw the people and companies of a market of so many customers; the same seed gives the same world."""
    rng = np.random.default_rng((seed, 1))
    in_business = max(1, round(customers * BUSINESS_SHARE)) if customers > 1 else 0
    business = np.arange(customers) < in_business

    # Companies: a run of people each, at least one, four on average.
    sizes = rng.geometric(1 / CONTACTS_PER_ACCOUNT, size=in_business).astype(np.int64)
    ends = np.cumsum(sizes)
    accounts = int(np.searchsorted(ends, in_business)) + 1 if in_business else 0
    sizes = sizes[:accounts]
    first = np.concatenate(([0], ends[: max(0, accounts - 1)])).astype(np.int64)[:accounts]
    if accounts:
        sizes[-1] = in_business - first[-1]
    account = np.full(customers, -1, dtype=np.int64)
    account[:in_business] = np.repeat(np.arange(accounts), sizes)

    account_level, account_reached = _levels_and_times(rng, accounts, COMPANY_LEVELS, COMPANY_PACE)
    level, reached = _levels_and_times(rng, customers, CONSUMER_LEVELS, CONSUMER_PACE)
    # A contact goes where its company goes, some days later than the first of them, and not always as far.
    members = np.arange(in_business)
    its = account[:in_business]
    delay = rng.exponential(20 * DAY, in_business).astype(np.int64) * (members != first[its])
    level[:in_business] = np.minimum(
        account_level[its],
        np.where((members == first[its]) | (rng.random(in_business) < 0.7), 4, CONSIDERATION),
    )
    for step in range(AWARENESS, CONVERSION + 1):
        reached[step, :in_business] = np.minimum(account_reached[step][its] + delay, END - DAY)

    signed_up = (level >= INTENT) & (
        rng.random(customers) < np.where(business, SIGN_UP_SHARE["business"], SIGN_UP_SHARE["consumer"])
    )
    consumers = customers - in_business
    # Families share a tablet: runs of two or three consumers.
    family = np.full(customers, -1, dtype=np.int64)
    household = np.arange(consumers) // 3
    has_tablet = rng.random(consumers // 3 + 1)[household] < FAMILY_SHARE
    # In half of the families only two of the three use it.
    uses_it = (np.arange(consumers) % 3 < 2) | (rng.random(consumers) < 0.5)
    family[in_business:] = np.where(has_tablet & uses_it, household, -1)
    kiosks = max(1, customers // 2_000)
    kiosk = np.where(
        signed_up & ~business & (rng.random(customers) < KIOSK_SHARE), rng.integers(0, kiosks, customers), -1
    )
    first_kind = rng.choice(len(FIRST_KINDS), size=customers, p=FIRST_KIND_SHARES).astype(np.int64)
    disappointed = np.isin(first_kind, [FIRST_KINDS.index(kind) for kind in DISAPPOINTING])
    currency = rng.choice(3, size=customers, p=(0.55, 0.3, 0.15)).astype(np.int64)
    currency[:in_business] = currency[first[its]] if in_business else currency[:0]
    return World(
        seed=seed,
        business=business,
        account=account,
        account_members=sizes,
        account_first=first,
        account_level=account_level,
        account_reached=account_reached,
        level=level,
        reached=reached,
        family=family,
        kiosk=kiosk,
        signed_up_at=np.where(signed_up, reached[INTENT] + 60, np.iinfo(np.int64).max),
        second_user=signed_up & (rng.random(customers) < SECOND_USER_SHARE),
        first_kind=first_kind,
        disappointed=disappointed,
        currency=currency,
        identifiers=_identifiers(rng, business, account, level, signed_up),
    )
