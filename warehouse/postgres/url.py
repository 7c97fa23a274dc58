"""Where the database is: a URL from the command line, the environment, or a file that only its owner reads."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

#: The URL itself, or a file that holds it.
STORE_VARIABLE = "MILEPOST_STORE"
STORE_FILE_VARIABLE = "MILEPOST_STORE_FILE"

SCHEMES = ("postgresql", "postgres")
_HIDDEN = "…"

#: After how long a server that is silent counts as gone: seconds to connect, seconds until an idle connection is tried
#: and between three tries, milliseconds until what was sent must have arrived. Left alone, it takes hours.
_TIMEOUTS = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


class StoreUrlError(ValueError):
    """The URL of the store is of no use; the message says why and what helps, without the password."""


def find_store_url(given: str | None = None, environ: Mapping[str, str] = os.environ) -> str | None:
    """Give the URL of the store: the given one, else that of the environment; None for the files of the home.

    Raises `StoreUrlError` for a URL of another kind, or a file that others may read.
    """
    url = given or environ.get(STORE_VARIABLE)
    if not url and environ.get(STORE_FILE_VARIABLE):
        url = _read(Path(environ[STORE_FILE_VARIABLE]))
    if not url:
        return None
    check_url(url)
    return url


def check_url(url: str) -> None:
    """Refuse a URL that is not one of a PostgreSQL database with a name; raises `StoreUrlError`."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in SCHEMES and len(parts.path) > 1 and (parts.port or True)
    except ValueError:
        known = False
    if not known:
        raise StoreUrlError(
            "The URL of the store is none of a PostgreSQL database. Write "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for special characters in a password."
        )


def _read(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreUrlError(f"{STORE_FILE_VARIABLE} names {path}, which can't be read: {error}.") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StoreUrlError(f"{path} holds a password and others may read it. Run: chmod 600 {path}")
    return text


def with_timeouts(url: str) -> str:
    """Give the URL with a bound on every wait for the network that it does not name itself."""
    # It is added to as it stands: taken apart and put together, a URL without a host loses its slashes.
    base, _, query = url.partition("?")
    named = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
    added = [f"{name}={value}" for name, value in _TIMEOUTS.items() if name not in named]
    return "?".join([base, "&".join([*filter(None, [query]), *added])]).rstrip("?")


def masked(url: str) -> str:
    """Give the URL without its password and its options, which may hold one too."""
    parts = urlsplit(url)
    who, at, where = parts.netloc.rpartition("@")
    user, colon, _ = who.partition(":")
    return f"{parts.scheme}://{user}{colon and ':' + _HIDDEN}{at}{where}{parts.path}"


def without_password(text: str, url: str) -> str:
    """Give a text, such as a driver's message, in which no password of the URL stands."""
    parts = urlsplit(url)
    secrets = {value for name, value in parse_qsl(parts.query) if name in ("password", "sslpassword")}
    secrets.add(parts.netloc.rpartition("@")[0].partition(":")[2])
    for secret in {form for value in secrets if value for form in (value, unquote(value), quote(value))}:
        text = text.replace(secret, _HIDDEN)
    return text
