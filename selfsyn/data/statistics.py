"""Statistics of a data set: class frequencies, class co-occurrence, object sizes and colours.

All are sums over frames, so they can be added. Never imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsyn.ahead import on_all_cores
from selfsyn.labels import CLASS_COUNT, IGNORE

STEPS = 4  # bins of a segment's area per doubling
AREAS = 32 * STEPS
LEVELS = 256

T = TypeVar("T")
S = TypeVar("S", "LabelStatistics", "ColourStatistics")


@dataclass(frozen=True)
class LabelStatistics:
    """frames: number of labels.  pixels: (K,) by class.

    together: (K, K) number of frames with both classes; on the diagonal, of frames with the class.
    areas: (K, AREAS) pixels of a class in segments of each size bin, floor(STEPS * log2(area in pixels)).
    """

    frames: int
    pixels: NDArray[np.int64]
    together: NDArray[np.int64]
    areas: NDArray[np.int64]

    def __add__(self, other: LabelStatistics) -> LabelStatistics:
        return LabelStatistics(
            self.frames + other.frames, self.pixels + other.pixels, self.together + other.together, self.areas + other.areas
        )

    @property
    def shares(self) -> NDArray[np.float64]:
        """(K,) share of the pixels that have a class, 0..1."""
        return self.pixels / max(int(self.pixels.sum()), 1)

    @property
    def given(self) -> NDArray[np.float64]:
        """(K, K) share of the frames with the row's class that also have the column's; NaN if no frame has the row's."""
        occurs = np.diag(self.together)[:, None]
        return np.where(occurs > 0, self.together / np.maximum(occurs, 1), np.nan)

    @property
    def sides(self) -> NDArray[np.float64]:
        """(K,) square root of the median segment area in pixels, segments weighted by their pixels.

        The weights keep specks from dominating. NaN for a class that never occurs.
        """
        below = self.areas.cumsum(axis=1)
        middle = (2 * below >= below[:, -1:]).argmax(axis=1)
        return np.where(self.pixels > 0, 2 ** ((middle + 0.5) / STEPS / 2), np.nan)


@dataclass(frozen=True)
class ColourStatistics:
    """frames: number of images.  levels: (3, 256) pixels of each level of red, green and blue."""

    frames: int
    levels: NDArray[np.int64]

    def __add__(self, other: ColourStatistics) -> ColourStatistics:
        return ColourStatistics(self.frames + other.frames, self.levels + other.levels)


NOTHING = np.zeros((), np.int64)  # plus an array of any shape is that array
NO_LABELS = LabelStatistics(0, NOTHING, NOTHING, NOTHING)
NO_COLOURS = ColourStatistics(0, np.zeros((3, LEVELS), np.int64))


def of_label(label: NDArray[np.uint8], *, classes: int = CLASS_COUNT) -> LabelStatistics:
    """The statistics of a (H, W) label of train ids below `classes`, or IGNORE. A segment is an 8-connected component."""
    pixels = np.bincount(label.ravel(), minlength=IGNORE + 1)[:classes].astype(np.int64)
    present = pixels > 0
    areas = np.zeros((classes, AREAS), np.int64)
    for train_id in np.flatnonzero(present):
        shown = label == train_id
        # connectedComponentsWithStats counts too, and needs six times as long.
        _, segment_of = cv2.connectedComponents(shown.view(np.uint8), connectivity=8)
        segments = np.bincount(segment_of[shown])[1:]  # 0 is the background
        np.add.at(areas[train_id], (STEPS * np.log2(segments)).astype(np.int64), segments)
    return LabelStatistics(1, pixels, np.outer(present, present).astype(np.int64), areas)


def of_image(image: NDArray[np.uint8]) -> ColourStatistics:
    """The statistics of a (H, W, 3) RGB image."""
    return ColourStatistics(1, np.stack([np.bincount(image[..., channel].ravel(), minlength=LEVELS) for channel in range(3)]))


def total(items: Sequence[T], count: Callable[[T], S], *, nothing: S) -> S:
    """The sum of count(item) over items, computed on all cores; an error of `count` is raised."""
    summed = nothing
    for part in on_all_cores(count, items):
        summed = summed + part
    return summed
