"""Pictures and links that report by being asked for: ads seen, e-mails opened, ads, e-mails and codes followed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit
from uuid import uuid4

from connectors.collector.json_text import encode
from connectors.collector.records import RawRecord, Refused
from connectors.collector.settings import KIB, CollectorSettings
from connectors.collector.times import iso

#: One transparent point.
GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
#: Names of parameters that say where a click came from; they travel on to the target.
CLICK_IDS = ("gclid", "fbclid", "msclkid")
#: The parameters that mean something to us.
SOURCE, TARGET = "source", "to"
_MOST_FIELDS = 200
_ADDED = 4 * KIB
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Browsers drop some of these and read others as slashes, so the host that we see would not be the one they visit.
_DECEPTIVE = re.compile(r"[\x00-\x20\x7f-\x9f\\\s]")
_HOST = re.compile(r"[a-z0-9.-]+")


def read_query(raw: bytes, most_bytes: int) -> list[tuple[str, str]]:
    """Read a query string.

    Raises:
        Refused: it is too long or not UTF-8.
    """
    if len(raw) > most_bytes:
        raise Refused("event_too_large", f"the query has more than {most_bytes} bytes", 414)
    try:
        return parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except UnicodeDecodeError:
        raise Refused("bad_encoding", "the query is not UTF-8") from None
    except ValueError:
        raise Refused("bad_query", f"the query has more than {_MOST_FIELDS} fields") from None


def find_source(fields: list[tuple[str, str]], names: tuple[str, ...]) -> str:
    """Give the source that a query names, or the only one there is.

    Raises:
        Refused: it names none of them, or none where there are several.
    """
    named = [value for name, value in fields if name == SOURCE]
    if not named and len(names) == 1:
        return names[0]
    if len(named) != 1 or named[0] not in names:
        raise Refused("unknown_source", "source names no source of this kind", 404)
    return named[0]


def visit_record(
    kind: str,
    fields: list[tuple[str, str]],
    known: Mapping[str, str],
    received: int,
    settings: CollectorSettings,
) -> RawRecord:
    """Make the record of a picture shown or a link followed.

    Every request is an event of its own, so its id is a new one; it travels with the record.

    Args:
        kind: `pixel` or `redirect`.
        fields: the query; of a name that comes twice the first stands.
        known: what the request itself knew of the client.
        received: when it arrived (microseconds).
        settings: the limits.
    """
    identity = uuid4().hex
    parameters = {name: value for name, value in reversed(fields) if name != SOURCE}
    event = {"id": identity, "type": kind, "receivedAt": iso(received), "parameters": parameters, **known}
    value = encode(event, settings.max_event_bytes + _ADDED)
    return RawRecord((known.get("network_userid") or identity).encode(), value, received)


def target_of(fields: list[tuple[str, str]], hosts: tuple[str, ...]) -> str:
    """Give the address that a link leads to, with the campaign's parameters that the link itself carried.

    Raises:
        Refused: there is not exactly one target, or it is no plain web address of an allowed host.
    """
    targets = [value for name, value in fields if name == TARGET]
    if len(targets) != 1:
        raise Refused("bad_target", "a link needs exactly one target (to)")
    parts = _checked(targets[0], hosts)
    own = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    carried = [
        (name, value)
        for name, value in fields
        if (name.startswith("utm_") or name in CLICK_IDS) and name not in own
    ]
    query = "&".join(part for part in (_ascii(parts.query), urlencode(carried)) if part)
    return urlunsplit(
        (parts.scheme, parts.netloc.lower(), _ascii(parts.path) or "/", query, _ascii(parts.fragment))
    )


def _checked(target: str, hosts: tuple[str, ...]) -> SplitResult:
    refusal = Refused("bad_target", "the target (to) is no http or https address of an allowed host")
    if _DECEPTIVE.search(target):
        raise refusal
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise refusal from None
    plain = parts.scheme in _DEFAULT_PORTS and host and _HOST.fullmatch(host) and "@" not in parts.netloc
    if not plain or host is None or parts.netloc.endswith(":"):
        raise refusal
    name = host if port in {None, _DEFAULT_PORTS[parts.scheme]} else f"{host}:{port}"
    if not any(_allows(pattern, name) for pattern in hosts):
        raise refusal
    return parts


def _allows(pattern: str, name: str) -> bool:
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


def _ascii(text: str) -> str:
    return quote(text, safe="%/:=&?~#+!$,;'@()*[]")
