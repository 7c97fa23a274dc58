"""Two readers of JSON, a fast and a lenient one, that must agree; and what is never written."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.collector.json_text import MAX_DEPTH, _decode_leniently, decode, encode
from connectors.collector.records import Refused

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=10,
)


@given(_values, st.booleans())
def test_both_readers_agree(value: Any, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    fast, lenient = decode(body), _decode_leniently(body)
    assert fast == lenient
    assert repr(fast) == repr(lenient)


def _all_texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for child in inner for text in _all_texts(child)]


@given(st.dictionaries(_texts, _values, max_size=4))
def test_what_is_written_is_read_again(event: dict[str, Any]) -> None:
    read = decode(json.dumps(event).encode())
    if "\0" in "".join(_all_texts(event)):
        with pytest.raises(Refused):
            encode(read, 10_000)
    else:
        assert json.loads(encode(read, 10_000)) == read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2.0**64),
        ("-9223372036854775808", -(2**63)),
        ("-9223372036854775809", -(2.0**63)),
        ("1" + "0" * 300, 1e300),
        ("1.5e300", 1.5e300),
        ("1e-999", 0.0),
    ],
)
def test_numbers(text: str, expected: float) -> None:
    for read in (decode(text.encode()), _decode_leniently(text.encode())):
        assert read == expected
        assert type(read) is type(expected)


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400, "9" * 4_400]
)
def test_numbers_that_are_none(text: str) -> None:
    event = decode(b'{"good":1,"bad":' + text.encode() + b"}")
    assert event["good"] == 1
    with pytest.raises(Refused) as refusal:
        encode(event, 1000)
    assert refusal.value.code == "bad_number"
    assert not isinstance(event["bad"], float) or not math.isfinite(event["bad"])


@pytest.mark.parametrize(
    ("levels", "fits"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False), (300, False), (900, False)]
)
def test_depth(levels: int, fits: bool) -> None:
    event = decode(b'{"a":' * levels + b"1" + b"}" * levels)
    if fits:
        assert encode(event, 10_000)
        return
    with pytest.raises(Refused) as refusal:
        encode(event, 10_000)
    assert refusal.value.code == "too_deep"
