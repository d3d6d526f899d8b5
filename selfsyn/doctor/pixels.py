"""The pixels of frames: do they decode, is there anything in the image, which ids has the label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsyn.ahead import on_all_cores
from selfsyn.data.dataset import DataSet
from selfsyn.doctor.ends import Ends
from selfsyn.images import read_image
from selfsyn.labels import CLASS_COUNT, CLASSES, IGNORE

SPREAD = 500  # frames of a data set whose pixels are looked at unless all are
SMALLEST = 50  # image files looked at besides: a picture of one colour is a small file
COARSE = 16  # pixels between those that are compared first


@dataclass(frozen=True)
class Pixels:
    """What a frame's pixels say. constant: every pixel alike.  counts: (256,) pixels by id; zeros without a label.

    unreadable: the files that do not decode, and why.
    """

    name: str
    constant: bool
    counts: NDArray[np.int64]
    unreadable: tuple[tuple[Path, str], ...]


def smallest(images: Mapping[str, Ends]) -> list[str]:
    """The frames with the fewest bytes a pixel: at most SMALLEST."""
    return sorted(images, key=lambda name: images[name].length / max(1, images[name].size[0] * images[name].size[1]))[:SMALLEST]


def pixels_of(frames: Mapping[str, tuple[Path, Path | None]], *, kind: DataSet) -> Iterator[Pixels]:
    """The pixels of each frame, in order. frames: image and, where it is looked at, label by name."""
    return on_all_cores(lambda frame: _pixels(frame[0], *frame[1], kind), frames.items())


def shares(counts: NDArray[np.int64], *, table: NDArray[np.uint8]) -> dict[str, float]:
    """(256,) pixels by id on disk -> each class's share of all pixels, 0..1, and that of 'ignore'; empty without pixels."""
    if not counts.any():
        return {}
    by_train_id = np.bincount(table, weights=counts, minlength=IGNORE + 1) / counts.sum()
    names = {**dict(enumerate(CLASSES)), IGNORE: "ignore"}
    return {name: round(float(by_train_id[train_id]), 6) for train_id, name in names.items()}


def strange_ids(counts: NDArray[np.int64], *, known: frozenset[int]) -> list[int]:
    """The ids that occur in (256,) counts and are not the data set's."""
    return sorted(set(np.flatnonzero(counts).tolist()) - known)


def without_class(counts: NDArray[np.int64], *, table: NDArray[np.uint8]) -> bool:
    """Whether a label has pixels, and not one of them has a class."""
    return bool(counts.any()) and not (table[np.flatnonzero(counts)] < CLASS_COUNT).any()


def _pixels(name: str, image: Path, label: Path | None, kind: DataSet) -> Pixels:
    constant, counts, unreadable = False, np.zeros(256, np.int64), []
    # Whatever a damaged file makes the decoders raise: it is this file's fault, and the others are to be looked at.
    try:
        constant = _is_constant(read_image(image))
    except Exception as error:
        unreadable.append((image, _reason(error, image)))
    if label is not None:
        try:
            counts = np.bincount(kind.read(label).ravel(), minlength=256)
        except Exception as error:
            unreadable.append((label, _reason(error, label)))
    return Pixels(name, constant, counts, tuple(unreadable))


def _is_constant(image: NDArray[np.uint8]) -> bool:
    first = image[0, 0]
    return bool((image[::COARSE, ::COARSE] == first).all() and (image == first).all())


def _reason(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
