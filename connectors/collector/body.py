"""Bodies of requests: how long they may take, how large they may be, packed and unpacked."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from connectors.collector.records import Refused

#: zlib's number for a gzip header.
_GZIP = 31


async def read_body(
    receive: Receive, headers: Mapping[bytes, bytes], most_bytes: int, seconds: float, too_large: int = 413
) -> bytes:
    """Read a body whole, unpacked.

    Args:
        receive: gives the parts of the body, of which none was read.
        headers: of the request, their names in lower case.
        most_bytes: of the body, both as it comes and unpacked.
        seconds: in which it must be here.
        too_large: the status of the refusal of a body that is larger.

    Raises:
        Refused: it is too large, too slow, or not packed as its header says.
        ClientDisconnect: the client went away.
    """
    refusal = Refused("body_too_large", f"the body has more than {most_bytes} bytes", too_large)
    if announced(headers, 0) > most_bytes:
        raise refusal
    try:
        async with asyncio.timeout(seconds):
            body = await _whole(receive, most_bytes, refusal)
    except TimeoutError:
        raise Refused("body_too_slow", f"the body was not here after {seconds:g} s", 408) from None
    packing = headers.get(b"content-encoding", b"identity").strip().lower()
    if packing in {b"gzip", b"x-gzip"}:
        return _unpack(body, most_bytes, refusal)
    if packing not in {b"identity", b""}:
        raise Refused("bad_packing", "the body is packed in a way other than gzip", 415)
    return body


def announced(headers: Mapping[bytes, bytes], otherwise: int) -> int:
    """Give the bytes that a body will have as it comes, where its header says so."""
    length = headers.get(b"content-length", b"")
    return int(length[:20]) if length.isdigit() else otherwise


async def _whole(receive: Receive, most_bytes: int, refusal: Refused) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        if len(body) > most_bytes:
            raise refusal
        message = await receive()
        body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    if len(body) > most_bytes:
        raise refusal
    return body


def _unpack(body: bytes, most_bytes: int, refusal: Refused) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        # One byte more than allowed is asked for: a bomb is never unpacked further.
        unpacked = unpacker.decompress(body, most_bytes + 1)
    except zlib.error:
        raise Refused("bad_packing", "the body is not gzip, as its header says") from None
    if len(unpacked) > most_bytes:
        raise refusal
    if not unpacker.eof or unpacker.unused_data:
        raise Refused("bad_packing", "the gzip body is cut off, or something follows it")
    return unpacked
