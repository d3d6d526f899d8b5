"""Limits on the cost of a request; each is checked before the cost arises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20
MEGAPIXEL: Final = 1_000_000


@dataclass(frozen=True)
class Limits:
    """The limits of one server.

    requests: in the server at once; further ones get 429.  body: bytes of a request, as sent and unpacked.
    image: pixels of a JPEG or PNG.  scans: of a progressive JPEG, each of which costs a pass over all pixels.
    run: pixels in a batch: 1.1 GiB with DeepLabV3+ on EfficientNet-Lite0; a ViT grows with the square of an image.
    images: of an infer request.
    read, answer: seconds to read a request and to answer it.
    """

    requests: int = 64
    body: int = 16 * MIB
    image: int = 25 * MEGAPIXEL
    scans: int = 100
    run: int = 2048 * 2048
    images: int = 64
    read: float = 30.0
    answer: float = 60.0
