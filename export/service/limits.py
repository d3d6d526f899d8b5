"""What a request may cost. Each limit is checked before the cost is paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20
MEGAPIXEL: Final = 1_000_000


@dataclass(frozen=True)
class Limits:
    """The limits of one server.

    requests: at once, from the first byte read to the last one answered; one more is sent away with 429.
    body: bytes of a request, as sent and unpacked.  image: pixels of a JPEG or PNG.  scans: of a progressive JPEG, each of
    which costs a pass over all pixels.  run: pixels that the net sees at once: its planes take 500 times their bytes.
    images: in one infer request.  read, answer: seconds to read a request, and to answer it.
    """

    requests: int = 64
    body: int = 16 * MIB
    image: int = 25 * MEGAPIXEL
    scans: int = 100
    run: int = 2048 * 2048
    images: int = 64
    read: float = 30.0
    answer: float = 60.0
