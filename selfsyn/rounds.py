"""The change of pseudo-labels between two rounds, which tells whether another round is useful. Uses no ground truth.

Never imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfsyn.data.sample import evenly_spaced
from selfsyn.pseudo_labels import LEVELS, LabelStore

COMPARED = 200  # most images whose labels in two rounds are compared


def agreement(before: LabelStore, after: LabelStore) -> NDArray[np.int64]:
    """(K, K) pixel counts: rows are classes of the earlier round, columns of the later, over at most COMPARED common images."""
    names = evenly_spaced(sorted(set(before.names) & set(after.names)), count=COMPARED)
    classes = len(before.classes)
    counts = np.zeros(classes**2, np.int64)
    for name in names:
        old, new = before.maps(name)[0], after.maps(name)[0]
        counts += np.bincount((old.astype(np.int64) * classes + new).ravel(), minlength=classes**2)
    return counts.reshape(classes, classes)


@dataclass(frozen=True)
class Change:
    """The change of pseudo-labels from a round to the next.

    counts: see `agreement`.  confidence: mean before and after, 0..1.
    drift: total variation distance of the class shares, 0..1: the least share of pixels that must have changed class.
    """

    counts: NDArray[np.int64]
    confidence: tuple[float, float]
    drift: float

    @property
    def agreement(self) -> float:
        """Share of the compared pixels that keep their class, 0..1."""
        return float(np.trace(self.counts) / max(int(self.counts.sum()), 1))


def change(before: LabelStore, after: LabelStore) -> Change:
    """The change between the label stores of two rounds: `counts` over at most COMPARED images, the rest over all images."""
    shares = [store.counts.sum(axis=1) / max(int(store.counts.sum()), 1) for store in (before, after)]
    confidence = mean_confidence(before.counts), mean_confidence(after.counts)
    return Change(agreement(before, after), confidence, drift=float(np.abs(shares[0] - shares[1]).sum() / 2))


def mean_confidence(counts: NDArray[np.int64]) -> float:
    """(K, 256) joint counts of classes and confidences -> the mean confidence, 0..1."""
    return float(counts.sum(axis=0) @ np.arange(LEVELS) / max(int(counts.sum()), 1) / (LEVELS - 1))
