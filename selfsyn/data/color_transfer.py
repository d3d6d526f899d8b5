"""Color transfer: change exposure, contrast and white balance of an image to those of another.

The adapter cannot learn this, because it works on tiles and so has no statistics of the whole image. Never imports torch.
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
SAMPLED = 3  # stride of the pixels, in rows and columns, from which statistics are computed
LEAST_VARIANCE = 1e-4  # added to the variance of each channel (values 0..1), so that a uniform image has an invertible covariance


@dataclass(frozen=True)
class Colours:
    """Colour statistics of an image. mean: (3,) of RGB in 0..1.  covariance: (3, 3) of RGB."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def colours_of(image: Picture) -> Colours:
    """(H, W, 3) RGB -> its colour statistics."""
    pixels = image[::SAMPLED, ::SAMPLED].reshape(-1, 3) / 255
    mean = pixels.mean(axis=0)
    apart = pixels - mean
    return Colours(mean, apart.T @ apart / len(pixels) + LEAST_VARIANCE * np.eye(3))


def with_colours(image: Picture, colours: Colours) -> Picture:
    """(H, W, 3) RGB -> the image with the mean and covariance of `colours`, clipped to 0..255.

    This is the linear map with the least change of colours: the Monge-Kantorovich map between two normal distributions
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
    """The colour statistics of an image file resized to `size` (width, height). InputError when unreadable."""
    return colours_of(resize_image(read_image(path), size=size))


def stacked(many: Sequence[Colours]) -> NDArray[np.float64]:
    """N colour statistics -> (N, 4, 3): the mean, then the rows of the covariance."""
    return np.stack([np.vstack([colours.mean, colours.covariance]) for colours in many])


def unstacked(rows: NDArray[np.float64]) -> tuple[Colours, ...]:
    """(N, 4, 3) -> N colour statistics: the inverse of `stacked`."""
    return tuple(Colours(row[0], row[1:]) for row in rows)


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
