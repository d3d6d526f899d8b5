"""Bodies: requests are read and unpacked up to a limit, responses are packed in an encoding that the client accepts."""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

from starlette.requests import Request

from export.service.limits import Limits
from export.service.refusals import Refusal

# zlib's wbits: a gzip, a zlib and a raw deflate stream.
GZIP: Final = 31
ZLIB: Final = 15
RAW: Final = -15

SMALLEST: Final = 1024  # bytes; smaller bodies are not packed
LEVEL: Final = 1  # labels shrink to a few percent at any level


async def read(request: Request, *, limits: Limits) -> bytes:
    """The body as it was sent. Refusal 413 as soon as it exceeds the limit, 408 when the client is too slow."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.body:
        raise _too_large(f"{int(declared)}", limits.body)
    chunks, total = [], 0
    try:
        async with asyncio.timeout(limits.read):
            async for chunk in request.stream():
                total += len(chunk)
                if total > limits.body:
                    raise _too_large(f"more than {limits.body}", limits.body)
                chunks.append(chunk)
    except TimeoutError as error:
        raise Refusal(408, f"{total} bytes of body in {limits.read:g} s; expected the whole body; send it faster") from error
    return b"".join(chunks)


def unpacked(body: bytes, *, encoding: str, limit: int) -> bytes:
    """Undo a Content-Encoding: gzip or deflate (zlib format as in the standard, or raw). At most `limit` bytes are produced.

    Refusal 415 for another encoding, 413 for more bytes, 400 for a stream that is damaged, cut off, or followed by other bytes.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Refusal(415, f"Content-Encoding {encoding!r}; expected gzip or deflate, or none")
    stream = zlib.decompressobj(GZIP if "gzip" in encoding else ZLIB if _is_zlib(body) else RAW)
    try:
        data = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refusal(400, f"the body is not a {encoding} stream ({error}); pack it again, or remove Content-Encoding") from error
    if len(data) > limit:
        raise _too_large(f"more than {limit} unpacked", limit)
    if not stream.eof or stream.unused_data:
        raise Refusal(
            400, f"the {encoding} stream {'is followed by other bytes' if stream.eof else 'ends too early'}; pack it again"
        )
    return data


def packed(body: bytes, *, accepted: str) -> tuple[bytes, dict[str, str]]:
    """-> the response's bytes in the encoding that Accept-Encoding prefers, and the headers that name it."""
    varies = {"vary": "accept-encoding"}
    encoding = preferred(accepted)
    if encoding is None or len(body) < SMALLEST:
        return body, varies
    stream = zlib.compressobj(LEVEL, wbits=GZIP if encoding == "gzip" else ZLIB)
    return stream.compress(body) + stream.flush(), varies | {"content-encoding": encoding}


def preferred(accepted: str) -> str | None:
    """'deflate, gzip;q=0.5' -> 'deflate': gzip or deflate, whichever has the higher weight; None when neither is accepted."""
    weights = {}
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        weights[name.strip()] = _weight(parameter)
    found = {name: weights.get(name, weights.get("*", 0.0)) for name in ("gzip", "deflate")}
    best = max(found, key=lambda name: found[name])
    return best if found[best] > 0 else None


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def _is_zlib(body: bytes) -> bool:
    # RFC 1950: method 8, and the first two bytes are a multiple of 31.
    return len(body) >= 2 and body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0


def _too_large(got: str, limit: int) -> Refusal:
    return Refusal(413, f"a body of {got} bytes; expected at most {limit}; send fewer or smaller images")
