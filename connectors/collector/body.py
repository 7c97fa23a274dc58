"""Bodies of requests: how long they may take, how large they may be, packed and unpacked."""

from __future__ import annotations

import asyncio
import zlib

from starlette.requests import ClientDisconnect, Request

from connectors.collector.records import Refused

#: zlib's number for a gzip header.
_GZIP = 31


async def read_body(request: Request, most_bytes: int, seconds: float, too_large: int = 413) -> bytes:
    """Read a body whole, unpacked.

    Args:
        request: the request, whose body is unread.
        most_bytes: of the body, both as it comes and unpacked.
        seconds: in which it must be here.
        too_large: the status of the refusal of a body that is larger.

    Raises:
        Refused: it is too large, too slow, or not packed as its header says.
        ClientDisconnect: the client went away.
    """
    headers = request.headers
    refusal = Refused("body_too_large", f"the body has more than {most_bytes} bytes", too_large)
    length = headers.get("content-length")
    if length is not None and length.isdecimal() and int(length[:20]) > most_bytes:
        raise refusal
    try:
        async with asyncio.timeout(seconds):
            body = await _receive(request, most_bytes, refusal)
    except TimeoutError:
        raise Refused("body_too_slow", f"the body was not here after {seconds:g} s", 408) from None
    packing = headers.get("content-encoding", "identity").strip().lower()
    if packing in {"gzip", "x-gzip"}:
        return _unpack(body, most_bytes, refusal)
    if packing not in {"identity", ""}:
        raise Refused("bad_packing", "the body is packed in a way other than gzip", 415)
    return body


async def _receive(request: Request, most_bytes: int, refusal: Refused) -> bytes:
    message = await request.receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        if len(body) > most_bytes:
            raise refusal
        message = await request.receive()
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
