"""A shop that delivers every kind of bad input there is, among good rows, and then delivers it right."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PROJECT = """
sources:
  orders: {files: "data/orders/*", mapping: mappings/shop_orders.sql}
  visits: {files: "data/visits/*.jsonl", mapping: mappings/site_visits.sql}
  costs: {files: data/costs.csv, mapping: mappings/cost_of_ads.sql, fact: spend}
"""
MAPPINGS = {
    "shop_orders": 'SELECT what AS kind, CAST(moment AS TIMESTAMP) AS occurred_at, customer AS "user", '
    "CAST(amount AS DECIMAL(38,2)) AS amount, currency, id AS native_id FROM raw",
    "site_visits": "SELECT 'site_visit' AS kind, CAST(moment AS TIMESTAMP) AS occurred_at, visitor AS cookie, "
    "content FROM raw",
    "cost_of_ads": "SELECT CAST(day AS DATE) AS day, 'social' AS channel, CAST(cost AS DECIMAL(18,2)) AS amount, "
    "'EUR' AS currency FROM raw",
}
HEADER = b"what,moment,customer,amount,currency,id\n"
TEN_MEGABYTES = b"x" * 10_000_000
GOOD = b"order,2024-01-01,u1,10.00,EUR,%d\n"

#: Row of orders/rows.csv → what is wrong with it (the class of its dead letter; None: nothing), and its bytes.
ROWS: dict[int, tuple[str | None, bytes]] = {
    1: (None, GOOD % 1),
    2: ("too_few_columns", b"order,2024-01-01,u2\n"),
    3: ("bad_value", b"order,yesterday,u3,10.00,EUR,3\n"),
    4: ("negative_amount", b"order,2024-01-01,u4,-10.00,EUR,4\n"),
    5: ("absurd_amount", b"order,2024-01-01,u5,999999999999.00,EUR,5\n"),
    6: ("bad_value", b"order,2024-01-01,u6,99999999999999999999999999999999999999999,EUR,6\n"),
    7: ("unknown_kind", b"gift,2024-01-01,u7,10.00,EUR,7\n"),
    8: ("unknown_currency", b"order,2024-01-01,u8,10.00,Taler,8\n"),
    9: ("no_subject", b"order,2024-01-01,,10.00,EUR,9\n"),
    10: ("no_subject", b"order,2024-01-01,unknown,10.00,EUR,10\n"),
    11: ("nul_byte", b"order,2024-01-01,u\x0011,10.00,EUR,11\n"),
    12: ("invalid_utf8", b"order,2024-01-01,u\xff12,10.00,EUR,12\n"),
    13: ("field_too_long", b"order,2024-01-01," + TEN_MEGABYTES + b",10.00,EUR,13\n"),
    14: (None, GOOD % 14),
}

#: Line of visits/lines.jsonl → the same.
LINES: dict[int, tuple[str | None, bytes]] = {
    1: (None, b'{"moment": "2024-01-01", "visitor": "c1"}\n'),
    2: ("bad_json", b'{"moment": "2024-01-01", "visitor"\n'),
    3: ("bad_value", b'{"moment": "2024-13-01", "visitor": "c3"}\n'),
    4: ("nul_byte", b'{"moment": "2024-01-01", "visitor": "c\x004"}\n'),
    5: ("invalid_utf8", b'{"moment": "2024-01-01", "visitor": "c\xff5"}\n'),
    6: ("field_too_long", b'{"moment": "2024-01-01", "content": "' + TEN_MEGABYTES + b'"}\n'),
    7: (None, b'{"moment": "2024-01-01", "visitor": "c7"}\n'),
}

#: Files that cannot be read or mapped as a whole → the class of their dead letter.
FILES = {
    "data/orders/cut.csv.gz": "truncated_file",
    "data/orders/cut.parquet": "truncated_file",
    "data/orders/empty.csv": "empty_file",
    "data/orders/column_missing.csv": "mapping",
    "data/orders/vanishing.csv": "file_missing",
    "data/costs.csv": "file_missing",
}
VANISHING = "data/orders/vanishing.csv"


def write_shop(folder: Path) -> None:
    """Write the project with everything that can be wrong in it."""
    for name in ("data/orders", "data/visits", "mappings"):
        (folder / name).mkdir(parents=True)
    (folder / "milepost.yaml").write_text(PROJECT)
    for name, sql in MAPPINGS.items():
        (folder / f"mappings/{name}.sql").write_text(sql)
    orders = folder / "data/orders"
    orders.joinpath("rows.csv").write_bytes(HEADER + b"".join(row for _, row in ROWS.values()))
    (folder / "data/visits/lines.jsonl").write_bytes(b"".join(line for _, line in LINES.values()))
    # Good rows before the place where the file is cut off land.
    cut = gzip.compress(HEADER + GOOD % 20 + b"".join(GOOD % (1_000 + at) for at in range(100)), mtime=0)
    orders.joinpath("cut.csv.gz").write_bytes(cut[:-8])
    orders.joinpath("cut.parquet").write_bytes(_parquet(30)[:-20])
    orders.joinpath("empty.csv").write_bytes(b"")
    orders.joinpath("column_missing.csv").write_bytes(b"what,moment,customer\norder,2024-01-01,u1\n")
    orders.joinpath("vanishing.csv").write_bytes(HEADER + GOOD % 40)
    orders.joinpath("good.csv").write_bytes(HEADER + GOOD % 50)


def mend(folder: Path) -> None:
    """Deliver everything right: the rows, whole files, the ones that were missing."""
    orders = folder / "data/orders"
    orders.joinpath("rows.csv").write_bytes(HEADER + b"".join(GOOD % row for row in ROWS))
    lines = [b'{"moment": "2024-01-01", "visitor": "c%d"}\n' % line for line in LINES]
    (folder / "data/visits/lines.jsonl").write_bytes(b"".join(lines))
    cut = HEADER + GOOD % 20 + b"".join(GOOD % (1_000 + at) for at in range(100))
    orders.joinpath("cut.csv.gz").write_bytes(gzip.compress(cut, mtime=0))
    orders.joinpath("cut.parquet").write_bytes(_parquet(30))
    orders.joinpath("empty.csv").write_bytes(HEADER + GOOD % 60)
    orders.joinpath("column_missing.csv").write_bytes(HEADER + GOOD % 70)
    (folder / VANISHING).write_bytes(HEADER + GOOD % 40)
    (folder / "data/costs.csv").write_bytes(b"day,cost\n2024-01-01,12.34\n")


def _parquet(number: int) -> bytes:
    what, moment, customer, amount, currency, native_id = (GOOD % number).decode().strip().split(",")
    row = {"what": what, "moment": moment, "customer": customer, "amount": amount, "currency": currency}
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{**row, "id": native_id}]), out)
    return out.getvalue()
