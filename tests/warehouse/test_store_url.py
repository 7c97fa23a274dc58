"""The URL of the store: where it comes from, and that nobody sees its password."""

from __future__ import annotations

from pathlib import Path

import pytest

from warehouse.places import open_places
from warehouse.postgres.session import DatabaseAwayError
from warehouse.postgres.url import (
    STORE_FILE_VARIABLE,
    STORE_VARIABLE,
    StoreUrlError,
    find_store_url,
    masked,
    with_timeouts,
    without_password,
)

URL = "postgresql://mila:s%40cret@127.0.0.1:1/journeys"


def test_what_is_given_comes_before_the_environment_and_that_before_a_file(tmp_path: Path) -> None:
    file = tmp_path / "store"
    file.write_text(f"{URL}\n")
    file.chmod(0o600)
    environ = {STORE_VARIABLE: "postgresql:///of_environment", STORE_FILE_VARIABLE: str(file)}
    assert find_store_url("postgres:///given", environ) == "postgres:///given"
    assert find_store_url(None, environ) == "postgresql:///of_environment"
    assert find_store_url(None, {STORE_FILE_VARIABLE: str(file)}) == URL
    assert find_store_url(None, {}) is None


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "store"
    file.write_text(URL)
    file.chmod(0o640)
    with pytest.raises(StoreUrlError, match="chmod 600"):
        find_store_url(None, {STORE_FILE_VARIABLE: str(file)})
    with pytest.raises(StoreUrlError, match="can't be read"):
        find_store_url(None, {STORE_FILE_VARIABLE: str(tmp_path / "absent")})


@pytest.mark.parametrize(
    "url", ["mysql://u:hidden@h/d", "postgresql://u:hidden@h", "postgresql://u:hidden@h:port/d", "hidden"]
)
def test_a_url_of_another_kind_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StoreUrlError, match="postgresql://USER") as refused:
        find_store_url(url)
    assert "hidden" not in str(refused.value)


def test_passwords_are_masked_wherever_they_stand() -> None:
    assert masked(URL) == "postgresql://mila:…@127.0.0.1:1/journeys"
    assert masked("postgresql://h/d?password=s3cret&sslmode=require") == "postgresql://h/d"
    assert masked("postgresql:///d?host=/tmp") == "postgresql:///d"
    assert "s@cret" not in without_password("FATAL: s@cret and s%40cret", URL)
    assert "cret" not in without_password("s@cret and s%40cret", URL)


@pytest.mark.parametrize(
    ("url", "begins"),
    [
        (URL, f"{URL}?connect_timeout=10&"),
        ("postgresql:///d?host=/tmp", "postgresql:///d?host=/tmp&connect_timeout=10&"),
        ("postgres://h/d?connect_timeout=3", "postgres://h/d?connect_timeout=3&keepalives_idle=30&"),
    ],
)
def test_waits_for_the_network_are_bounded_as_the_url_says_or_anyway(url: str, begins: str) -> None:
    bounded = with_timeouts(url)
    assert bounded.startswith(begins)
    assert bounded.count("connect_timeout") == bounded.count("tcp_user_timeout") == 1
    assert with_timeouts(bounded) == bounded


def test_a_server_that_is_away_is_said_to_be_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(DatabaseAwayError, match=r"127\.0\.0\.1") as error:
        open_places(tmp_path, URL)
    shown = "".join(str(part) for part in (error.value, error.value.__cause__))
    assert "s@cret" not in shown
    assert "s%40cret" not in shown
