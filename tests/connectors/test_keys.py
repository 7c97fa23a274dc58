"""The hashing key is made once, kept private, and clear text goes no further than the mapping."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from connectors.errors import KeyFileError
from connectors.keys import BLOCKED, HashingKey, Identifiers, load_key, normalise_email, normalise_phone
from schemas.vocabulary import load_vocabulary


def identifiers(**options: tuple[str, ...]) -> Identifiers:
    return Identifiers(load_vocabulary(), HashingKey(b"1" * 32), "DE", **options)


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    key = load_key(tmp_path)
    assert load_key(tmp_path) == key
    file = tmp_path / "hashing.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    assert key.secret.hex() not in repr(key) + key.key_id


def test_a_key_that_others_can_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    load_key(tmp_path)
    file = tmp_path / "hashing.key"
    file.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_key(tmp_path)
    file.chmod(0o600)
    file.write_text("")
    with pytest.raises(KeyFileError, match="backup"):
        load_key(tmp_path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (" Ann@Example.COM\n", "ann@example.com"),
        ("ann@STRASSE.de", "ann@straße.de"),
        ("\uff41\uff4e\uff4e@x.de", "ann@x.de"),
    ],
)
def test_spellings_of_an_address_are_one(one: str, other: str) -> None:
    assert normalise_email(one) == normalise_email(other)


def test_spellings_of_a_number_are_one() -> None:
    assert {normalise_phone(text, "DE") for text in ("030 1234567", "+49 30 1234567", "0049-30-1234567")} == {
        "+49301234567"
    }
    assert normalise_phone("030 1234567", None) is None
    assert normalise_phone("call me", "DE") is None


def test_personal_values_are_hashed_blocked_or_kept_by_choice() -> None:
    hashed = identifiers()
    value = hashed.value("email", "Ann@Example.com")
    assert value is not None
    assert len(value) == 32
    assert hashed.identifier("email: ann@example.com ") == f"email:{value}"
    assert hashed.value("email", value) == value, "what is hashed stays"
    assert hashed.value("email", "noreply@shop.com") == BLOCKED
    assert hashed.value("phone", "n/a") == BLOCKED
    assert hashed.value("email", "  ") is None
    assert hashed.value("cookie", " c1 ") == "c1"
    assert identifiers(clear_text=("email",)).value("email", "Ann@Example.com") == "ann@example.com"


def test_columns_say_the_same_as_single_values() -> None:
    hashed = identifiers()
    for namespace in ("email", "cookie"):
        values = ["A@b.c", None, "", " a@b.c", "unknown", "x:y"]
        column = hashed.column(namespace, pl.Series("v", values))
        single = [
            None
            if v is None or hashed.value(namespace, v) is None
            else f"{namespace}:{hashed.value(namespace, v)}"
            for v in values
        ]
        assert column.to_list() == single
