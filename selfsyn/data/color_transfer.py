"""The colours of one image given to another: what separates a render from a photo as a whole, exposure, contrast and white.

An adapter that must give the same answer in tiles sees no whole image, so it cannot do this. Never imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsyn.images import read_image, resize_image

Picture = NDArray[np.uint8]
SAMPLED = 3  # every third pixel of a row and of a column is looked at
LEAST_VARIANCE = 1e-4  # added to each channel's, of values 0..1: an image of one colour has none to divide by


@dataclass(frozen=True)
class Colours:
    """How an image's colours are spread. mean: (3,) of red, green and blue as 0..1.  covariance: (3, 3) of them."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def colours_of(image: Picture) -> Colours:
    """(H, W, 3) RGB -> its colours."""
    pixels = image[::SAMPLED, ::SAMPLED].reshape(-1, 3) / 255
    mean = pixels.mean(axis=0)
    apart = pixels - mean
    return Colours(mean, apart.T @ apart / len(pixels) + LEAST_VARIANCE * np.eye(3))


def with_colours(image: Picture, colours: Colours) -> Picture:
    """(H, W, 3) RGB -> the same image with the mean and covariance of `colours`, as far as 0..255 can hold them.

    Of all linear maps that do so this one moves colours least: the Monge-Kantorovich map between two normal distributions
    (Pitié & Kokaram 2007).
    """
    own = colours_of(image)
    deviation = _root(own.covariance)
    back = np.linalg.inv(deviation)
    turn = back @ _root(deviation @ colours.covariance @ deviation) @ back
    offset = 255 * (colours.mean - turn @ own.mean)
    moved = cv2.transform(image, np.column_stack([turn, offset]).astype(np.float32))
    return np.asarray(moved, dtype=np.uint8)


def colours_of_file(path: Path, *, size: tuple[int, int]) -> Colours:
    """The colours of an image file seen at `size` (width, height). InputError when unreadable."""
    return colours_of(resize_image(read_image(path), size=size))


def stacked(many: Sequence[Colours]) -> NDArray[np.float64]:
    """-> (N, 4, 3): the mean, then the rows of the covariance, of each."""
    return np.stack([np.vstack([colours.mean, colours.covariance]) for colours in many])


def unstacked(rows: NDArray[np.float64]) -> tuple[Colours, ...]:
    """`stacked` undone."""
    return tuple(Colours(row[0], row[1:]) for row in rows)


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
