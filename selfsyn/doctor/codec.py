"""The time to read, resize and write a frame on one core of this machine: a job's time without its net."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selfsyn.data.dataset import DataSet
from selfsyn.data.sample import evenly_spaced
from selfsyn.doctor.listing import Listing
from selfsyn.images import encode_label_png, encode_png, read_image, resize_image, resize_label

FRAMES = 6  # measured


@dataclass(frozen=True)
class Codec:
    """Means over a few frames: seconds on one core, and the bytes of image and label at working size."""

    seconds: float
    image_bytes: float
    label_bytes: float


def measured(listings: Sequence[Listing], *, size: tuple[int, int]) -> Codec | None:
    """The cost on frames of these data sets at `size` (width, height); None when none of them can be read."""
    frames = [(image, listing.labels.get(name), listing.kind) for listing in listings for name, image in listing.images.items()]
    chosen = evenly_spaced(frames, count=FRAMES)
    rows = [row for row in (_measured(image, label, kind, size) for image, label, kind in chosen) if row is not None]
    return Codec(*np.mean(rows, axis=0).tolist()) if rows else None


def _measured(image: Path, label: Path | None, kind: DataSet, size: tuple[int, int]) -> tuple[float, int, int] | None:
    began = time.perf_counter()
    try:
        picture = encode_png(resize_image(read_image(image), size=size))
        ids = b"" if label is None else encode_label_png(resize_label(kind.table[kind.read(label)], size=size), kind.classes)
    except Exception:  # a damaged file may raise anything; another check names it
        return None
    return time.perf_counter() - began, len(picture), len(ids)
