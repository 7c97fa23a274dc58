"""What each simulated system exports of what it recorded: its own column names and its own words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from milepost.simulate.delivery import stamp

KIND, AT, RECEIVED = pl.col("kind"), pl.col("at"), pl.col("received")
ISO = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Export:
    """A folder of files that a system writes: which of its records, in which form, with which columns."""

    folder: str
    suffix: str
    system: str
    columns: Callable[[], list[pl.Expr]]
    only: pl.Expr | None = None


def _id(prefix: str) -> pl.Expr:
    return pl.format(prefix + "{}", pl.col("number"))


def _money() -> pl.Expr:
    """Write cents as a decimal number; text, as most exports have it."""
    cents = pl.col("amount")
    return pl.when(cents.is_not_null()).then(
        pl.format("{}.{}", cents // 100, (cents % 100).cast(pl.String).str.zfill(2))
    )


def _account() -> pl.Expr:
    return pl.when(pl.col("account") >= 0).then(pl.format("A-{}", pl.col("account")))


def _campaign() -> pl.Expr:
    when = pl.from_epoch("at", time_unit="s")
    channel = pl.col("campaign_channel")
    return pl.when(channel.is_not_null()).then(
        pl.format("{}-{}q{}", channel, when.dt.year(), when.dt.quarter())
    )


def _spaced_phone() -> pl.Expr:
    """Write a telephone number as people type it: with blanks."""
    return pl.col("phone").str.replace(r"^(\+\d\d)(\d{3})(\d{3})(\d+)$", "$1 $2 $3 $4")


def _ads() -> list[pl.Expr]:
    network = (
        pl.when(KIND == "search_ad_click")
        .then(pl.lit("search"))
        .when(KIND == "social_engagement")
        .then(pl.lit("social"))
        .otherwise(KIND.str.split("_").list.last())
    )
    action = (
        pl.when(KIND == "social_engagement")
        .then(pl.lit("engagement"))
        .when(KIND.str.starts_with("ad_impression"))
        .then(pl.lit("impression"))
        .otherwise(pl.lit("click"))
    )
    return [
        _id("").alias("ad_event_id"),
        network.alias("network"),
        action.alias("action"),
        stamp("at").alias("time"),
        pl.col("cookie"),
        pl.col("social_handle").alias("handle"),
        _campaign().alias("campaign"),
        pl.col("content").alias("detail"),
        stamp("received").alias("exported_at"),
    ]


def _web() -> list[pl.Expr]:
    answered = KIND.str.ends_with("_answered")
    event = (
        pl.when(answered)
        .then(pl.lit("code_entered"))
        .when(KIND.is_in(["sign_up", "enquiry"]))
        .then(pl.lit("form_sent"))
        .when(KIND == "content_downloaded")
        .then(pl.lit("download"))
        .otherwise(pl.lit("page_view"))
    )
    page = (
        pl.when(KIND == "review_read")
        .then(pl.format("/reviews/{}", pl.col("content").str.replace_all(" ", "-")))
        .when(KIND == "enquiry")
        .then(pl.lit("/contact"))
        .when(KIND == "content_downloaded")
        .then(pl.format("/papers/{}", pl.col("content").str.replace_all(" ", "-")))
        .otherwise(pl.col("content").fill_null("/"))
    )
    referrer = (
        pl.when(answered)
        .then(KIND.str.replace("_answered", ""))
        .when(KIND == "search_visit")
        .then(pl.lit("organic"))
    )
    return [
        _id("w").alias("id"),
        event.alias("event"),
        page.alias("page"),
        referrer.alias("referrer"),
        pl.col("cookie"),
        pl.col("device").alias("app_install"),
        pl.col("user").alias("user_id"),
        pl.col("email").alias("form_email"),
        pl.when(KIND == "enquiry").then(pl.col("content")).alias("message"),
        _campaign().alias("utm_campaign"),
        stamp("at", ISO).alias("ts"),
        stamp("received", ISO).alias("stored_at"),
    ]


def _mail() -> list[pl.Expr]:
    words = {
        "email_sent": "sent",
        "email_opened": "open",
        "email_clicked": "click",
        "direct_mail_sent": "letter",
        "direct_mail_answered": "reply card",
        "campaign_contact": "flyer",
    }
    return [
        _id("m").alias("message_event"),
        KIND.replace_strict(words).alias("event"),
        stamp("at").alias("at"),
        # The tool writes addresses as people typed them.
        pl.when(pl.col("number") % 9 == 0)
        .then(pl.col("email").str.to_uppercase())
        .otherwise("email")
        .alias("recipient"),
        pl.col("cookie").alias("click_cookie"),
        _campaign().alias("campaign"),
        pl.col("content").alias("link"),
        stamp("received").alias("synced_at"),
    ]


def _events() -> list[pl.Expr]:
    return [
        _id("e").alias("entry"),
        KIND.str.replace("_(registered|attended)$", "").alias("event_type"),
        KIND.str.extract("_(registered|attended)$").alias("status"),
        stamp("at").alias("time"),
        pl.col("email"),
        _spaced_phone().alias("phone"),
        _campaign().alias("event"),
        stamp("received").alias("list_received"),
    ]


def _crm_activities() -> list[pl.Expr]:
    return [
        _id("act").alias("activity_id"),
        KIND.str.replace_all("_", " ").str.to_titlecase().alias("type"),
        stamp("at").alias("activity_date"),
        pl.col("crm_contact").alias("contact_id"),
        pl.col("email"),
        pl.col("phone"),
        _account().alias("account_id"),
        pl.col("opportunity").alias("opportunity_id"),
        pl.col("opportunity_stage").alias("stage"),
        pl.col("deal").alias("deal_number"),
        _money().alias("amount"),
        pl.col("currency").alias("currency"),
        pl.col("owner"),
        pl.col("reason"),
        pl.col("products"),
        _campaign().alias("campaign"),
        pl.col("content").alias("subject"),
        stamp("received").alias("synced_at"),
    ]


def _crm_contacts() -> list[pl.Expr]:
    return [
        pl.col("crm_contact").alias("contact_id"),
        pl.col("email"),
        _spaced_phone().alias("phone"),
        _account().alias("account_id"),
        pl.col("role"),
        pl.col("key_contact"),
        stamp("at").alias("created_at"),
        stamp("received").alias("synced_at"),
    ]


def _shop() -> list[pl.Expr]:
    return [
        pl.when(KIND == "order").then("deal").otherwise(_id("S")).alias("record"),
        KIND.alias("type"),
        pl.from_epoch("at", time_unit="s").alias("time"),
        pl.col("user").alias("customer"),
        pl.col("email"),
        pl.col("cookie").alias("browser"),
        pl.col("loyalty_card"),
        pl.col("where").alias("outlet"),
        pl.col("deal").alias("order_number"),
        _money().alias("total"),
        pl.col("currency"),
        pl.col("products").str.split(";").alias("items"),
        pl.col("content").alias("code"),
        pl.col("reason"),
        pl.col("score").alias("stars_percent"),
        pl.from_epoch("received", time_unit="s").alias("loaded_at"),
    ]


def _billing() -> list[pl.Expr]:
    return [
        _id("b").alias("entry_id"),
        KIND.alias("entry_type"),
        stamp("at").alias("booked_at"),
        pl.col("user").alias("user_id"),
        pl.col("email"),
        pl.col("crm_contact").alias("contact_id"),
        _account().alias("account_id"),
        pl.col("subscription").alias("subscription_number"),
        pl.col("deal").alias("deal_number"),
        pl.col("booking_number").fill_null(0).alias("instalment"),
        pl.col("opportunity").alias("opportunity_id"),
        _money().alias("amount"),
        pl.col("currency"),
        pl.col("products").alias("plan"),
        pl.col("reason"),
        stamp("received").alias("exported_at"),
    ]


def _product() -> list[pl.Expr]:
    return [
        _id("p").alias("event_id"),
        KIND.alias("event_type"),
        pl.from_epoch("at", time_unit="s").alias("at"),
        pl.col("user").alias("user_id"),
        pl.col("device").alias("install_id"),
        pl.col("push_token"),
        pl.col("email"),
        pl.col("crm_contact").alias("contact_id"),
        _account().alias("account_id"),
        pl.col("content").alias("feature"),
        pl.col("score"),
        pl.from_epoch("received", time_unit="s").alias("flushed_at"),
    ]


def _desk() -> list[pl.Expr]:
    return [
        _id("t").alias("update_id"),
        KIND.str.replace("ticket_", "").alias("change"),
        stamp("at", ISO).alias("changed_at"),
        pl.col("email").alias("requester_email"),
        _spaced_phone().alias("requester_phone"),
        pl.col("user").alias("requester_user"),
        pl.col("reason").alias("topic"),
        pl.col("content").alias("tag"),
        (pl.col("score") // 20).alias("stars"),
        stamp("received", ISO).alias("exported_at"),
    ]


_CONTACT_RECORD = (KIND == "identify") & (pl.col("system") == "crm")

EXPORTS = (
    Export("ads", ".csv.gz", "ads", _ads),
    Export("web", ".jsonl.gz", "web", _web),
    Export("mail", ".csv", "mail", _mail),
    Export("events", ".csv", "events", _events),
    Export("crm_activities", ".csv", "crm", _crm_activities, ~_CONTACT_RECORD),
    Export("crm_contacts", ".csv", "crm", _crm_contacts, _CONTACT_RECORD),
    Export("shop", ".parquet", "shop", _shop),
    Export("billing", ".csv", "billing", _billing),
    Export("product", ".parquet", "product", _product),
    Export("desk", ".jsonl", "desk", _desk),
)
