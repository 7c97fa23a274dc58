"""A small market that arrives in two deliveries: five sources, all kinds of facts, a few bad rows in each delivery."""

from __future__ import annotations

import csv
import gzip
import json
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

PEOPLE = 40
START = datetime(2024, 1, 1)

PROJECT = """
sources:
  shop: {files: "data/shop/*.csv", mapping: shop.sql}
  web: {files: "data/web/*.jsonl.gz", mapping: web.sql}
  ads: {files: "data/ads/*.csv", mapping: ads.sql, fact: spend}
  matches: {files: "data/matches/*.jsonl", mapping: matches.sql, fact: identity_link}
  wishes: {files: "data/wishes/*.csv", mapping: wishes.sql, fact: erasure}
"""

MAPPINGS = {
    "shop": 'SELECT what AS kind, moment::TIMESTAMP AS occurred_at, customer AS "user", email, visitor AS cookie, '
    "amount::DECIMAL(18,2) AS amount, currency, [product] AS products, refunded AS conversion_native_id, "
    "id AS native_id FROM raw",
    "web": "SELECT kind, ts::TIMESTAMP AS occurred_at, visitor AS cookie, email, campaign, id AS native_id FROM raw",
    "ads": "SELECT day::DATE AS day, campaign, 'social' AS channel, cost::DECIMAL(18,2) AS amount, 'EUR' AS currency, "
    "day || campaign AS native_id, version::BIGINT AS revision FROM raw",
    "matches": "SELECT a, b, moment::TIMESTAMP AS seen_at, id AS native_id FROM raw",
    "wishes": "SELECT identifier, moment::TIMESTAMP AS erased_at, id AS native_id FROM raw",
}

#: An order whose date is none, and one that says no kind of the vocabulary.
BAD_ORDERS = (
    {"what": "order", "moment": "yesterday", "customer": "u1", "amount": "1", "currency": "EUR"},
    {"what": "gift", "moment": "2024-03-01", "customer": "u1"},
)


def write_market(folder: Path) -> None:
    """Write the project with its first delivery."""
    folder.mkdir(parents=True)
    (folder / "milepost.yaml").write_text(PROJECT)
    for source, sql in MAPPINGS.items():
        (folder / f"{source}.sql").write_text(sql)
    deliver(folder, 1)


def deliver(folder: Path, number: int) -> None:
    """Write a delivery: its facts touch people, campaigns and orders of the ones before."""
    chance = random.Random(number)
    _csv(folder / f"data/shop/{number}.csv", _orders(chance, number))
    _jsonl(folder / f"data/web/{number}.jsonl.gz", _visits(chance, number))
    _csv(folder / f"data/ads/{number}.csv", _spend(chance, number))
    _jsonl(folder / f"data/matches/{number}.jsonl", _links(chance, number))
    _csv(folder / f"data/wishes/{number}.csv", _wishes(chance, number))


def _moment(chance: random.Random, number: int) -> str:
    return str(START + timedelta(days=100 * (number - 1), minutes=chance.randrange(150 * 24 * 60)))


def _orders(chance: random.Random, number: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for at in range(60):
        person = chance.randrange(PEOPLE)
        refund = at % 10 == 9
        row = {
            "what": "refund" if refund else "order",
            "moment": _moment(chance, number),
            "customer": f"u{person}",
            "email": f"person{person}@example.com" if chance.random() < 0.5 else "",
            "visitor": f"c{person}-{chance.randrange(2)}" if chance.random() < 0.5 else "",
            "amount": f"{chance.randrange(1, 9_999) / 100:.2f}",
            "currency": "EUR",
            "product": chance.choice(["tea", "cups", "kettle"]),
            "refunded": f"{number}-{at - 1}" if refund else "",
        }
        rows.append({**row, "id": f"{number}-{at}"})
    # The same id with another amount: a conflict, which the stitch finds.
    conflict = {**rows[0], "amount": "77.77"}
    return [*rows, rows[1], conflict, *({**bad, "id": f"{number}-bad"} for bad in BAD_ORDERS)]


def _visits(chance: random.Random, number: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for at in range(150):
        person = chance.randrange(PEOPLE)
        row: dict[str, Any] = {
            "id": f"w{number}-{at}",
            "kind": chance.choice(["site_visit", "pricing_page_visit", "ad_click_social", "enquiry"]),
            "ts": _moment(chance, number),
            "visitor": f"c{person}-{chance.randrange(2)}",
            "campaign": chance.choice([None, "spring", "summer"]),
        }
        if chance.random() < 0.1:
            row["email"] = f"Person{person}@example.com"
        rows.append(row)
    return [*rows, {"id": f"w{number}-bad", "kind": "site_visit", "ts": "2024-01-01", "visitor": "unknown"}]


def _spend(chance: random.Random, number: int) -> list[dict[str, Any]]:
    first = START + timedelta(days=100 * (number - 1))
    days = [first + timedelta(days=day) for day in range(130)]
    return [
        {
            "day": f"{day:%Y-%m-%d}",
            "campaign": campaign,
            "cost": f"{chance.randrange(100, 9_999) / 100:.2f}",
            "version": number,
        }
        for day in days
        for campaign in ("spring", "summer")
    ]


def _links(chance: random.Random, number: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"m{number}-{at}",
            "a": f"user:u{chance.randrange(PEOPLE)}",
            "b": f"device:d{chance.randrange(PEOPLE)}",
            "moment": _moment(chance, number),
        }
        for at in range(15)
    ]


def _wishes(chance: random.Random, number: int) -> list[dict[str, Any]]:
    people = [f"user:u{chance.randrange(PEOPLE)}" for _ in range(2)]
    # Nobody is called unknown: the stitch rejects the wish, aloud.
    return [
        {"id": f"e{number}-{at}", "identifier": who, "moment": _moment(chance, number)}
        for at, who in enumerate([*people, "user:unknown"])
    ]


def _csv(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]), restval="")
        writer.writeheader()
        writer.writerows(rows)


def _jsonl(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    # Without a time in it, equal rows give equal files.
    file.write_bytes(gzip.compress(content, mtime=0) if file.suffix == ".gz" else content)
