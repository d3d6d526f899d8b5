"""Rare classes more often: which class a training image must show, and which frame shows it. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfsyn.labels import CLASS_COUNT, IGNORE

LEAST_SHARE = 0.0015  # of a frame or a crop, for it to show a class: 3000 pixels of GTA5's two million (Hoyer et al. 2022)


def pixels_by_class(label: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(H, W) train ids -> (20,) pixels of each class, and last of those that are IGNORE."""
    counts = np.bincount(label.ravel(), minlength=IGNORE + 1)
    return np.append(counts[:CLASS_COUNT], counts[CLASS_COUNT:].sum()).astype(np.int64)


def class_chances(shares: NDArray[np.float64], *, temperature: float) -> NDArray[np.float64]:
    """(19,) shares of pixels -> (19,) chances ~ exp((1 - share) / temperature) (Hoyer et al. 2022, eq. 3)."""
    raised = np.exp((shares.min() - shares) / temperature)  # the largest is 1: nothing overflows
    chances: NDArray[np.float64] = raised / raised.sum()
    return chances


@dataclass(frozen=True)
class RareClasses:
    """How often each class is asked for, and the frames that show it.

    classes, chances: of the classes that any frame shows.  frames, weights: for each of them, frames by number and how
    often each of those is taken.
    """

    classes: tuple[int, ...]
    chances: tuple[float, ...]
    frames: tuple[NDArray[np.int64], ...]
    weights: tuple[NDArray[np.float64], ...]

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """-> a frame's number, and the train id that its crop must show."""
        place = int(rng.choice(len(self.classes), p=self.chances))
        return int(rng.choice(self.frames[place], p=self.weights[place])), self.classes[place]


def rare_classes(
    counts: NDArray[np.int64], *, temperature: float, frequencies: NDArray[np.float64] | None = None
) -> RareClasses | None:
    """(N, 20) pixels by frame -> how to draw; None when no frame shows any class.

    A class is shown by the frames of which it covers more than LEAST_SHARE; one that no frame shows is never drawn.
    frequencies: (N,) how often each frame would be drawn otherwise: they weigh the shares, and the choice among frames.
    """
    often = np.ones(len(counts)) if frequencies is None else frequencies
    of_frames = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shown = of_frames[:, :CLASS_COUNT] > LEAST_SHARE
    classes = np.flatnonzero(shown.any(axis=0))
    if not len(classes):
        return None
    pixels = often @ of_frames[:, :CLASS_COUNT]
    chances = class_chances(pixels / pixels.sum(), temperature=temperature)[classes]
    frames = tuple(np.flatnonzero(shown[:, train_id]) for train_id in classes)
    return RareClasses(
        classes=tuple(classes.tolist()),
        chances=tuple((chances / chances.sum()).tolist()),
        frames=frames,
        weights=tuple(often[held] / often[held].sum() for held in frames),
    )
