"""Requests that nobody should send: a seeded stream of them, as raw bytes, and what each was answered."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import io
import json
import random
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

INFER = "/v2/models/segmenter/infer"
PREDICT = "/v2/models/segmenter/predict"
SECONDS = 120.0
MAY_PASS = ("image, flipped", "infer, changed")  # a change may leave a sound request
JUNK = (None, True, -1, 0, 1e400, 10**30, "", "image", [], [[]], {}, [1, [2]], {"a": 1}, "\ud800", 2**63)


@dataclass(frozen=True)
class Request:
    """The bytes of one request. answer: whether one may be expected (not after hanging up in the middle)."""

    kind: str
    data: bytes
    answer: bool = True

    def sent(self, port: int) -> tuple[int, str]:
        """Send it on a connection of its own; -> the answer's status (0 without one), and what is wrong with it, or ''."""
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the answer came before the end
                connection.sendall(self.data)
            if not self.answer:
                return 0, ""
            response = http.client.HTTPResponse(connection, method=self.data.split(b" ")[0].decode("latin-1"))
            try:
                response.begin()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                return 0, f"no answer: {error!r}"
        return response.status, self._problem(response.status, response.getheader("content-type", ""), body)

    def _problem(self, status: int, content_type: str, body: bytes) -> str:
        if status < 400:
            return "" if self.kind in MAY_PASS else f"taken for sound: {status}"
        if status >= 500:
            return f"status {status}: {body[:200]!r}"
        if content_type != "application/json":
            return f"an error of type {content_type}"
        error = json.loads(body).get("error")
        return "" if isinstance(error, str) and error else f"an error without a message: {body[:200]!r}"


def requests(*, count: int, seed: int) -> Iterator[Request]:
    """`count` malformed requests, all kinds in turn, the same for the same seed."""
    draw = random.Random(seed)
    for position in range(count):
        kind, make = KINDS[position % len(KINDS)]
        made = make(draw)
        yield made if isinstance(made, Request) else Request(kind, made)


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A request that is HTTP, whatever its body is."""
    lines = [f"POST {path} HTTP/1.1", "Host: test", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


# ---- pictures that cost more than they show ----


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb_png(width: int, height: int, *, more: bytes = b"") -> bytes:
    """A grey PNG of any size in some bytes; two million pixels are there at most. more: chunks before them."""
    lines = zlib.compress(bytes(min((width + 1) * height, 2_000_000)))
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + png_chunk(b"IDAT", lines) + png_chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A small PNG with 64 MB of comment."""
    return bomb_png(8, 8, more=png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(64 << 20))))


def jpeg(*, width: int = 24, height: int = 16, **options: object) -> bytes:
    """A sound JPEG."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def wide_jpeg(width: int, height: int) -> bytes:
    """A JPEG whose header says another size."""
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def many_scans(count: int) -> bytes:
    """A progressive JPEG that refines its pixels again and again."""
    data = jpeg(progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def png() -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(jpeg())).save(buffer, format="PNG")
    return buffer.getvalue()


SOUND = (jpeg(), jpeg(progressive=True), png())
TEXT_BOMB = text_bomb()
BOMBS = (bomb_png(60_000, 60_000), bomb_png(2**31 - 1, 2**31 - 1)[:200], wide_jpeg(65_500, 65_500), many_scans(300), TEXT_BOMB)
PATHS = (
    "/v2/models/%00/infer",
    "/v2/models/segmenter/versions/-1/infer",
    "/../../etc/passwd",
    "/%ff%fe",
    "//",
    "/v2/" + "a" * 4_000,
    "/v2/models/segmenter/predict?view=%00",
    "/v2/models/segmenter/predict?view=" + "x" * 2_000,
    "/metrics/x",
    "/v2/models//infer",
)
HEADER_LINES = (
    b"Content-Length: -5",
    b"Content-Length: 5, 6",
    b"Content-Length: abc",
    b"Content-Length: 4\r\nContent-Length: 7",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    b"Bad Header: x",
    b": x",
    b"X: \x00",
    b"X: " + b"y" * 100_000,
    b"\xff\xfe: x",
    b"Expect: nothing\r\nContent-Length: x",
)
PACKED_BOMBS = {"gzip": gzip.compress(bytes(40 << 20)), "deflate": zlib.compress(bytes(40 << 20))}


# ---- one maker for each kind ----


def random_bytes(draw: random.Random, most: int = 400) -> bytes:
    return draw.randbytes(draw.randrange(most))


def infer_noise(draw: random.Random) -> bytes:
    return post(INFER, b"{" * draw.randrange(2) + random_bytes(draw))


def infer_deep(draw: random.Random) -> bytes:
    depth = draw.choice((50, 2_000, 200_000))
    inner = draw.choice((b"[" * depth, b'{"inputs":' * depth, b"[" * depth + b"]" * depth))
    return post(INFER, inner)


def infer_number(draw: random.Random) -> bytes:
    number = draw.choice(("9" * 5_000, "1e999", "-1", "NaN", "0x10", "1" * 400))
    return post(
        INFER, f'{{"inputs":[{{"name":"image","shape":[1,1,1,3],"datatype":"UINT8","data":[{number},1,{number}]}}]}}'.encode()
    )


def infer_changed(draw: random.Random) -> bytes:
    """A sound request in which one value, anywhere, became another, or went."""
    entry = {"name": "image", "shape": [1, 2, 2, 3], "datatype": "UINT8", "data": [7] * 12, "parameters": {}}
    request: dict[str, object] = {"id": "1", "inputs": [entry], "outputs": [{"name": "label"}], "parameters": {}}
    holder, key = draw.choice(list(places(request)))
    if isinstance(holder, dict) and draw.random() < 0.3:
        del holder[key]
    else:
        holder[key] = draw.choice(JUNK)  # type: ignore[index]
    return post(INFER, json.dumps(request).encode())


def places(value: object) -> Iterator[tuple[object, object]]:
    """Each (container, key or position) inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from places(inner)


def infer_binary(draw: random.Random) -> bytes:
    """A binary request whose lengths do not agree."""
    size, sent = draw.choice(((12, 11), (11, 12), (12, 13), (0, 0), (-12, 12), (2**70, 12), ("12", 12), (12.0, 12)))
    entry = {"name": "image", "shape": [1, 2, 2, 3], "datatype": "UINT8", "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [entry]}).encode()
    length = draw.choice((len(head), len(head), len(head) + 1, 10**9, -1, "x", "9" * 30, "१२"))
    return post(INFER, head + bytes(sent), f"Inference-Header-Content-Length: {length}".encode().decode("latin-1"))


def packed_bomb(draw: random.Random) -> bytes:
    encoding = draw.choice(tuple(PACKED_BOMBS))
    return post(draw.choice((INFER, PREDICT)), PACKED_BOMBS[encoding], f"Content-Encoding: {encoding}")


def packed_wrong(draw: random.Random) -> bytes:
    whole = gzip.compress(b'{"inputs": []}' * 50)
    body = draw.choice((whole[: draw.randrange(len(whole))], whole + b"more", whole + whole, random_bytes(draw), b""))
    encoding = draw.choice(("gzip", "deflate", "br", "gzip, gzip", "gzip;q=1", "zstd", "none", "x" * 500))
    return post(INFER, body, f"Content-Encoding: {encoding}")


def image_cut(draw: random.Random) -> bytes:
    whole = draw.choice(SOUND)
    return post(PREDICT, whole[: draw.randrange(len(whole) // 2)], "Content-Type: image/png")


def image_flipped(draw: random.Random) -> bytes:
    data = bytearray(draw.choice(SOUND))
    for _ in range(draw.randrange(1, 20)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return post(PREDICT + draw.choice(("", "?view=overlay", "?view=json")), bytes(data))


def image_bomb(draw: random.Random) -> bytes:
    return post(PREDICT, draw.choice(BOMBS))


def image_other(draw: random.Random) -> bytes:
    """Files that Pillow would read, and must not here; and no file."""
    start = draw.choice(
        (b"GIF89a", b"BM", b"II*\0", b"%PDF-1.7", b"<svg ", b"RIFF....WEBPVP8 ", b"\x00\x00\x00\x1cftypavif", b"")
    )
    return post(PREDICT, start + (random_bytes(draw) if start else b""), "Content-Type: image/png")


def form_wrong(draw: random.Random) -> bytes:
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + SOUND[0] + b"\r\n"
    no_name = b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"
    field = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
    body = draw.choice((part[:-50], part, part * 2 + b"--b--\r\n", no_name, field * 30, b"--b--\r\n", random_bytes(draw), b""))
    # Without its last boundary a form is not whole, however sound its file looks.
    kind = draw.choice(("boundary=b", "boundary=c", "", "boundary=", "boundary=" + "b" * 300, 'boundary="b; x'))
    return post(PREDICT, body, f"Content-Type: multipart/form-data; {kind}")


def path_wrong(draw: random.Random) -> bytes:
    path = draw.choice(PATHS)
    return post(path, b"")


def method_wrong(draw: random.Random) -> bytes:
    method = draw.choice(("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO", "post"))
    return post(draw.choice((INFER, PREDICT, "/v2", "/")), b"").replace(b"POST", method.encode(), 1)


def header_wrong(draw: random.Random) -> bytes:
    """What breaks HTTP itself."""
    line = draw.choice(HEADER_LINES)
    return f"POST {INFER} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n".encode() + line + b"\r\n\r\n"


def request_line_wrong(draw: random.Random) -> bytes:
    line = draw.choice(
        (b"GET", b"GET /", b"GET / HTTP/99", b"\x16\x03\x01\x02\x00\x01", b"GET / FTP/1.0", b"\x00" * 20, b"SSH-2.0-x", b"{}")
    )
    return line + b"\r\nHost: test\r\n\r\n"


def without_host(draw: random.Random) -> bytes:
    return f"POST {draw.choice((INFER, PREDICT))} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode()


def hung_up(draw: random.Random) -> Request:
    """Who goes in the middle gets no answer; the server must not mind."""
    whole = post(PREDICT, SOUND[0])
    return Request("hung up", whole[: draw.randrange(1, len(whole))], answer=False)


Maker = Callable[[random.Random], bytes | Request]
KINDS: tuple[tuple[str, Maker], ...] = (
    ("infer, noise", infer_noise),
    ("infer, deep", infer_deep),
    ("infer, number", infer_number),
    ("infer, changed", infer_changed),
    ("infer, changed", infer_changed),
    ("infer, binary", infer_binary),
    ("packed, bomb", packed_bomb),
    ("packed, wrong", packed_wrong),
    ("image, cut", image_cut),
    ("image, flipped", image_flipped),
    ("image, flipped", image_flipped),
    ("image, bomb", image_bomb),
    ("image, other", image_other),
    ("form, wrong", form_wrong),
    ("path, wrong", path_wrong),
    ("method, wrong", method_wrong),
    ("header, wrong", header_wrong),
    ("request line, wrong", request_line_wrong),
    ("host, missing", without_host),
    ("hung up", hung_up),
)
