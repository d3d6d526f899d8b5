"""Checks on the pixels of frames: do the files decode, is the image constant, which ids has the label."""

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
from selfsyn.labels import IGNORE

SMALLEST = 50  # image files that are read as well: a picture of one colour is a small file
MASK_COLOURS = 40  # a photo has thousands
COARSE = 16  # step of the grid of pixels that are compared first


@dataclass(frozen=True)
class Pixels:
    """The result of reading a frame. constant: all pixels are equal.  counts: (256,) pixels by id; zeros without a label.

    mask: the image has as few colours as a drawn label.  unreadable: the files that do not decode, and why.
    """

    name: str
    constant: bool
    mask: bool
    counts: NDArray[np.int64]
    unreadable: tuple[tuple[Path, str], ...]


def smallest(images: Mapping[str, Ends]) -> list[str]:
    """The frames with the fewest bytes per pixel: at most SMALLEST."""
    return sorted(images, key=lambda name: images[name].length / max(1, images[name].size[0] * images[name].size[1]))[:SMALLEST]


def pixels_of(frames: Mapping[str, tuple[Path, Path | None]], *, kind: DataSet) -> Iterator[Pixels]:
    """The pixels of each frame, in order. frames: image, and label or None, by name."""
    return on_all_cores(lambda frame: _pixels(frame[0], *frame[1], kind), frames.items())


def shares(counts: NDArray[np.int64], *, kind: DataSet) -> dict[str, float]:
    """(256,) pixels by id on disk -> each class's share of all pixels, 0..1, and that of 'ignore'; empty without pixels."""
    if not counts.any():
        return {}
    by_train_id = np.bincount(kind.table, weights=counts, minlength=IGNORE + 1) / counts.sum()
    names = {**dict(enumerate(kind.classes.names)), IGNORE: "ignore"}
    return {name: round(float(by_train_id[train_id]), 6) for train_id, name in names.items()}


def strange_ids(counts: NDArray[np.int64], *, known: frozenset[int]) -> list[int]:
    """The ids in (256,) counts that the data set does not define."""
    return sorted(set(np.flatnonzero(counts).tolist()) - known)


def without_class(counts: NDArray[np.int64], *, table: NDArray[np.uint8]) -> bool:
    """Whether a label has pixels but none with a class."""
    return bool(counts.any()) and not (table[np.flatnonzero(counts)] != IGNORE).any()


def _pixels(name: str, image: Path, label: Path | None, kind: DataSet) -> Pixels:
    constant, mask, counts, unreadable = False, False, np.zeros(256, np.int64), []
    # A damaged file may make the decoders raise anything; the other files are still to be checked.
    try:
        pixels = read_image(image)
        constant = _is_constant(pixels)
        mask = not constant and _few_colours(pixels)
    except Exception as error:
        unreadable.append((image, _reason(error, image)))
    if label is not None:
        try:
            counts = np.bincount(kind.read(label).ravel(), minlength=256)
        except Exception as error:
            unreadable.append((label, _reason(error, label)))
    return Pixels(name, constant, mask, counts, tuple(unreadable))


def _is_constant(image: NDArray[np.uint8]) -> bool:
    first = image[0, 0]
    return bool((image[::COARSE, ::COARSE] == first).all() and (image == first).all())


def _few_colours(image: NDArray[np.uint8]) -> bool:
    return all(
        len(np.unique(part.reshape(-1, 3) @ np.array([1 << 16, 1 << 8, 1]))) <= MASK_COLOURS
        for part in (image[::COARSE, ::COARSE], image)
    )


def _reason(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
