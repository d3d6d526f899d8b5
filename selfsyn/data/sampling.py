"""Rare-class sampling: choose a class for a training image, then a frame that shows it. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfsyn.labels import CLASS_COUNT, IGNORE

LEAST_SHARE = (
    0.0015  # least share of a frame or crop that counts as showing a class: 3000 pixels of GTA5's two million (Hoyer et al. 2022)
)


def pixels_by_class(label: NDArray[np.uint8], *, classes: int = CLASS_COUNT) -> NDArray[np.int64]:
    """(H, W) train ids -> (K + 1,) pixels of each of K classes, the last of IGNORE."""
    counts = np.bincount(label.ravel(), minlength=IGNORE + 1)
    return np.append(counts[:classes], counts[classes:].sum()).astype(np.int64)


def class_chances(shares: NDArray[np.float64], *, temperature: float) -> NDArray[np.float64]:
    """(K,) shares of pixels -> (K,) probabilities ~ exp((1 - share) / temperature) (Hoyer et al. 2022, eq. 3)."""
    raised = np.exp((shares.min() - shares) / temperature)  # the largest is 1: nothing overflows
    chances: NDArray[np.float64] = raised / raised.sum()
    return chances


@dataclass(frozen=True)
class RareClasses:
    """The probability of each class, and the frames that show it.

    classes, chances: train ids and probabilities of the classes that at least one frame shows.
    frames, weights: for each of these classes, indices and probabilities of the frames that show it.
    """

    classes: tuple[int, ...]
    chances: tuple[float, ...]
    frames: tuple[NDArray[np.int64], ...]
    weights: tuple[NDArray[np.float64], ...]

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """-> the index of a frame, and the train id that its crop should show."""
        place = int(rng.choice(len(self.classes), p=self.chances))
        return int(rng.choice(self.frames[place], p=self.weights[place])), self.classes[place]


def rare_classes(
    counts: NDArray[np.int64], *, temperature: float, frequencies: NDArray[np.float64] | None = None
) -> RareClasses | None:
    """(N, K + 1) pixels by frame and class, the last of IGNORE -> rare-class sampling; None when no frame shows a class.

    A frame shows a class that covers more than LEAST_SHARE of it. A class that no frame shows is never chosen.
    frequencies: (N,) probability of each frame without rare-class sampling; weights of the frames in the class shares and in
    the choice of a frame. None: equal.
    """
    often = np.ones(len(counts)) if frequencies is None else frequencies
    of_frames = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shown = of_frames[:, :-1] > LEAST_SHARE
    classes = np.flatnonzero(shown.any(axis=0))
    if not len(classes):
        return None
    pixels = often @ of_frames[:, :-1]
    chances = class_chances((pixels / pixels.sum())[classes], temperature=temperature)
    frames = tuple(np.flatnonzero(shown[:, train_id]) for train_id in classes)
    return RareClasses(
        classes=tuple(classes.tolist()),
        chances=tuple(chances.tolist()),
        frames=frames,
        weights=tuple(often[held] / often[held].sum() for held in frames),
    )
