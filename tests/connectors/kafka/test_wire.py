"""Messages: the bytes of any Avro writer, and poison that never damages its neighbours."""

from __future__ import annotations

import copy
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.avro_rows import encode_rows_apart, plain_columns
from connectors.bus import writer_schema
from connectors.kafka.columns import ByteColumn
from connectors.kafka.schema_ids import FINGERPRINT_BIT, package_ids, todays_id
from connectors.kafka.wire import LARGEST_MESSAGE, decode_messages, encode_messages
from schemas.contracts import avro_schema, frame_schema
from schemas.releases import SCHEMA_NAMES, released_versions
from tests.connectors.kafka.facts import message_of, rows_of

ALL = SCHEMA_NAMES
#: Where fastavro reads on although the bytes are wrong: numbers of more than 64 bits, branches counted from the
#: end, booleans other than 0 and 1, ….
STRICTER = {"bad_number", "bad_branch", "bad_enum", "bad_boolean", "bad_length", "bad_time"}

MOMENT = datetime(2024, 6, 1, 12, 30, 0, 123456, tzinfo=UTC)


def _frame(fact: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=frame_schema(fact), orient="row")


def _reference(fact: str, message: bytes) -> dict[str, Any] | None:
    """Read one message slowly; None for one that is no fact."""
    if len(message) < 5 or message[0] != 0 or len(message) > LARGEST_MESSAGE:
        return None
    written = package_ids().get(int.from_bytes(message[1:5]))
    if written is None or written.fact != fact:
        return None
    body = io.BytesIO(message[5:])
    try:
        row = fastavro.schemaless_reader(body, written.parsed, fastavro.parse_schema(avro_schema(fact)))
    except Exception:
        return None
    texts = [text for value in row.values() for text in (value if isinstance(value, list) else [value])]
    has_nul = any("\0" in text for text in texts if isinstance(text, str))
    return None if has_nul or body.tell() < len(message) - 5 else row


@st.composite
def _mutated(draw: st.DrawFn, message: bytes) -> bytes:
    wire = bytearray(message)
    for _ in range(draw(st.integers(0, 2))):
        kind = draw(st.sampled_from(["flip", "cut", "grow", "splice", "drop"]))
        at = draw(st.integers(0, max(0, len(wire) - 1)))
        if kind == "flip" and wire:
            wire[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del wire[at:]
        elif kind == "grow":
            wire += draw(st.binary(min_size=1, max_size=4))
        elif kind == "splice":
            wire[at:at] = draw(st.binary(min_size=1, max_size=11))
        elif kind == "drop":
            del wire[at : at + draw(st.integers(1, 4))]
    return bytes(wire)


@pytest.mark.parametrize("fact", ALL)
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_messages_have_the_bytes_of_the_reference_writer_and_come_back(
    fact: str, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(rows_of(fact), max_size=5))
    frame = _frame(fact, rows)
    messages = encode_messages(fact, frame)
    assert messages == [message_of(fact, row) for row in rows]
    decoded = decode_messages(fact, messages)
    assert decoded.frame.equals(frame)
    assert decoded.frame.schema == frame_schema(fact)
    assert decoded.positions.tolist() == list(range(len(rows)))
    assert not decoded.rejects


@pytest.mark.parametrize("fact", ["touchpoint", "spend", "retraction", "dead_letter"])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_poison_never_damages_its_neighbours(fact: str, data: st.DataObject) -> None:
    good = [message_of(fact, row) for row in data.draw(st.lists(rows_of(fact), min_size=1, max_size=6))]
    messages = [data.draw(_mutated(message) | st.just(message)) for message in good]
    messages += data.draw(st.lists(st.binary(max_size=40), max_size=2))
    decoded = decode_messages(fact, messages)
    classes = {reject.position: reject.error_class for reject in decoded.rejects}
    assert sorted([*decoded.positions.tolist(), *classes]) == list(range(len(messages))), "each has one fate"
    expected = {
        position: row
        for position, message in enumerate(messages)
        if (row := _reference(fact, message)) is not None and classes.get(position) not in STRICTER
    }
    assert decoded.positions.tolist() == sorted(expected)
    assert decoded.frame.equals(_frame(fact, [expected[position] for position in sorted(expected)]))


def _touch(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(frame_schema("touchpoint"))
    row |= {
        "event_id": "e1",
        "revision": 3,
        "source": "shop",
        "kind": "order",
        "channel": "storefront",
        "team": "marketing",
        "reach": "one_to_many",
        "occurred_at": MOMENT,
        "identifiers": ["cookie:c1", "user:ü"],
        "booking_number": 0,
        "products": [],
        "received_at": MOMENT,
        "raw_ids": ["r:1"],
        "mapping_version": "v",
    }
    return {**row, **changes}


GOOD = message_of("touchpoint", _touch())


@pytest.mark.parametrize(
    ("message", "error_class"),
    [
        (None, "no_value"),
        (b"", "truncated"),
        (b"\0\1", "truncated"),
        (b'{"event_id": "e1"}', "wrong_magic"),
        (b"\1" + GOOD[1:], "wrong_magic"),
        (b"\0\0\0\0\7" + GOOD[5:], "unknown_schema"),
        (b"\0\xff\xff\xff\xff" + GOOD[5:], "unknown_schema"),
        (b"\0" + todays_id("spend").to_bytes(4) + GOOD[5:], "wrong_schema"),
        (GOOD[:-1], "truncated"),
        (GOOD[:5], "truncated"),
        (GOOD + b"\0", "trailing_bytes"),
        (GOOD.replace(b"shop", b"sh\xffp"), "not_utf8"),
        (GOOD.replace(b"shop", b"sh\0p"), "nul_character"),
        (GOOD.replace(b"shop", b"\xed\xa0\x80p"), "not_utf8"),
        (GOOD.replace(b"\x08shop", b"\x08shop\xce\x0f", 1), "bad_enum"),
        (GOOD.replace(b"\x08shop", b"\x07shop"), "bad_length"),
        (GOOD.replace(b"\x08shop", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "truncated"),
        (GOOD.replace(b"\x08shop", b"\xff" * 11), "bad_number"),
        (b"\0" * (20 * 1024 * 1024), "too_large"),
    ],
)
def test_each_poison_is_named(message: bytes | None, error_class: str) -> None:
    decoded = decode_messages("touchpoint", [GOOD, message, GOOD])
    assert decoded.positions.tolist() == [0, 2]
    assert decoded.frame.equals(_frame("touchpoint", [_touch()] * 2))
    (reject,) = decoded.rejects
    assert (reject.position, reject.error_class) == (1, error_class)
    assert "shop" not in reject.reason, "reasons repeat no content"
    assert len(reject.reason) > 20


def test_a_time_that_no_calendar_has_is_rejected() -> None:
    frame = plain_columns(_frame("touchpoint", [_touch(), _touch()]), frame_schema("touchpoint"))
    last = (datetime(9999, 12, 31, 23, 59, 59, 999999, UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )
    frame = frame.with_columns(occurred_at=pl.Series([last, last + 10**6]))
    prefix = b"\0" + todays_id("touchpoint").to_bytes(4)
    data, offsets = encode_rows_apart(frame, writer_schema("touchpoint")["fields"], prefix)
    column = ByteColumn(data, offsets[:-1], offsets[1:])
    decoded = decode_messages("touchpoint", column)
    assert decoded.positions.tolist() == [0]
    assert [reject.error_class for reject in decoded.rejects] == ["bad_time"]


def test_a_whole_record_in_an_unusual_form_is_read() -> None:
    """An array in two blocks, one with its size, and a number longer than need be."""
    cookie, user = b"\x12cookie:c1", b"\x0euser:\xc3\xbc"
    usual = b"\x04" + cookie + user + b"\0"
    assert GOOD.count(usual) == 1
    blocks = b"\x01" + bytes([2 * len(cookie)]) + cookie + b"\x02" + user + b"\0"
    long_number = GOOD.replace(b"\x06\x08shop", b"\x86\x00\x08shop")
    assert len(long_number) == len(GOOD) + 1
    decoded = decode_messages("touchpoint", [GOOD.replace(usual, blocks), GOOD, long_number])
    assert not decoded.rejects
    assert decoded.frame.equals(_frame("touchpoint", [_touch()] * 3))


def test_records_of_other_releases_are_read_by_schema_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    older = copy.deepcopy(avro_schema("touchpoint"))
    older["fields"] = [field for field in older["fields"] if field["name"] not in ("properties", "revision")]
    kinds = next(field for field in older["fields"] if field["name"] == "kind")["type"]
    kinds["symbols"] = [*kinds["symbols"][:1], "walked_by", *kinds["symbols"][1:]]
    from connectors.kafka import schema_ids

    old_id = schema_ids.fingerprint_id(older)
    known = {**package_ids(), old_id: schema_ids.written_with(older)}
    monkeypatch.setattr("connectors.kafka.wire.package_ids", lambda: known)
    old = [message_of("touchpoint", _touch(kind=kind), older, old_id) for kind in ("order", "walked_by")]
    decoded = decode_messages("touchpoint", [old[0], GOOD, old[0][:-1], old[1]])
    assert decoded.frame["kind"].to_list() == ["order", "order", "unrecognised"]
    assert decoded.frame["revision"].to_list() == [0, 3, 0], "a reader's default"
    assert decoded.positions.tolist() == [0, 1, 3]
    assert [(reject.position, reject.error_class) for reject in decoded.rejects] == [(2, "truncated")]


def test_every_release_and_today_have_an_id() -> None:
    known = package_ids()
    assert {written.fact for written in known.values()} == set(ALL)
    assert all(schema_id & FINGERPRINT_BIT for schema_id in known)
    assert released_versions()
    for fact in ALL:
        assert known[todays_id(fact)].is_todays
        assert known[todays_id(fact)].fields is not None, "the quick way is open"


def test_ids_never_change() -> None:
    """What is in topics of others names them."""
    assert f"{todays_id('erasure'):08x}" == "8cdf107b"
    assert f"{todays_id('consent'):08x}" == "df243a13"


def test_a_thousand_bad_ones_among_good_ones() -> None:
    later = _touch(occurred_at=MOMENT + timedelta(days=1))
    good = message_of("touchpoint", later)
    messages = [good if number % 3 else good[: number % len(good)] for number in range(3_000)]
    decoded = decode_messages("touchpoint", ByteColumn.of(messages))
    assert decoded.frame.height == 2_000
    assert decoded.frame.unique().height == 1
    assert len(decoded.rejects) == 1_000
