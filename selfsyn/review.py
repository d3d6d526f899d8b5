"""Which pseudo-labels a person should look at: measures of each image, and a choice that is spread over classes and scenes.

Never imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import CITYSCAPES_19, ClassList
from selfsyn.pseudo_labels import LEVELS, histogram

PRESENT: Final = 0.01  # the smallest share of an image at which a class can be its worst
APART: Final = 0.5  # of an even spacing: how far apart two chosen images are at least, in the order of their names
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measures:
    """What the labels of an image say about themselves. Shares and confidences are in 0..1.

    ignored: share of the pixels below the thresholds of their classes.  worst_class: of the classes with at least PRESENT of the
    pixels the one with the lowest mean confidence.  disagreement: share of the pixels with another class than in the round
    before; None without one.  shares: of each class, in per mille.
    """

    name: str
    mean_confidence: float
    ignored: float
    worst_class: str
    worst_confidence: float
    disagreement: float | None
    shares: tuple[int, ...]

    @property
    def doubt(self) -> float:
        """The mean of 1 - mean_confidence, ignored, and disagreement where it is known."""
        known = [1 - self.mean_confidence, self.ignored]
        known += [self.disagreement] if self.disagreement is not None else []
        return round(sum(known) / len(known), 4)


def measured(
    name: str,
    maps: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    *,
    thresholds: NDArray[np.int64],
    before: NDArray[np.uint8] | None,
    classes: ClassList = CITYSCAPES_19,
) -> Measures:
    """Measure (H, W) train ids and confidences. thresholds: (K,), see pseudo_labels.  before: labels of the round before."""
    counts = histogram(*maps, classes=len(classes))
    pixels, levels = counts.sum(axis=1), np.arange(LEVELS)
    total = int(pixels.sum())
    confidence = counts @ levels / np.maximum(pixels, 1) / (LEVELS - 1)
    present = np.flatnonzero(pixels >= PRESENT * total)
    worst = int(present[confidence[present].argmin()])
    ignored = counts[levels < thresholds[:, None]].sum() / total
    same_size = before is not None and before.shape == maps[0].shape
    return Measures(
        name,
        round(float(counts.sum(axis=0) @ levels) / total / (LEVELS - 1), 4),
        round(float(ignored), 4),
        classes.names[worst],
        round(float(confidence[worst]), 4),
        round(float(np.mean(before != maps[0])), 4) if same_size else None,
        tuple(np.rint(1000 * pixels / total).astype(int).tolist()),
    )


def spread(found: Sequence[Measures], *, count: int) -> list[int]:
    """Positions in `found` of at most `count` images that are worth a person's hour, in the order of their choice.

    found: sorted by name, so that neighbours are neighbours in a video. Half of the images are for the classes, the rarest
    first: the image that has most of a class. The rest are far from the chosen ones in their class shares, and doubtful
    (farthest-point sampling with the distance times the doubt). No two are closer than half an even spacing.
    """
    shares = np.sqrt(np.array([one.shares for one in found]) / 1000)
    doubt = np.array([one.doubt for one in found])
    gap = max(1, int(APART * len(found) / count))
    free, distance, chosen = np.ones(len(found), dtype=bool), np.full(len(found), np.inf), []

    def take(position: int) -> None:
        chosen.append(position)
        free[max(0, position - gap + 1) : position + gap] = False
        np.minimum(distance, np.linalg.norm(shares - shares[position], axis=1), out=distance)

    for train_id in _rarest_first(shares)[: count // 2]:
        best = int(np.where(free, shares[:, train_id], -1.0).argmax())
        if free[best] and shares[best, train_id] > 0:
            take(best)
    while len(chosen) < count and free.any():
        worth = doubt * (distance if chosen else 1.0)
        take(int(np.where(free, worth, -1.0).argmax()))
    return chosen


def _rarest_first(shares: Array) -> list[int]:
    """The train ids that occur, by their share of all pixels."""
    whole = (shares**2).sum(axis=0)
    return [int(train_id) for train_id in np.argsort(whole, kind="stable") if whole[train_id] > 0]
