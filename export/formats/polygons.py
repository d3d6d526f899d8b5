"""Polygons -> pixels, by arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SMALLEST = 3  # corners


def polygon_mask(ring: Sequence[float], *, height: int, width: int) -> NDArray[np.bool_]:
    """The corners x, y, x, y, ... of a polygon, in pixels from the image's upper left corner -> (H, W): the pixels inside.

    A pixel is inside if its centre is (even-odd rule), so that a rectangle has its area in pixels, as in pycocotools.
    ValueError for what is no polygon.
    """
    points = np.asarray(ring, dtype=np.float64)
    if points.ndim != 1 or len(points) % 2 or len(points) < 2 * SMALLEST or not np.isfinite(points).all():
        raise ValueError(f"a polygon of {points.size} numbers; expected x and y of at least {SMALLEST} corners")
    x, y = points[0::2], points[1::2]
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    # An edge crosses the centre lines of the rows first to last - 1.
    first, last = (np.clip(np.ceil(of(y, next_y) - 0.5), 0, height).astype(np.int64) for of in (np.minimum, np.maximum))
    crossed = last - first
    edge = np.repeat(np.arange(len(x)), crossed)
    row = np.arange(crossed.sum()) - np.repeat(np.cumsum(crossed) - crossed, crossed) + first[edge]
    at = x[edge] + (row + 0.5 - y[edge]) / (next_y[edge] - y[edge]) * (next_x[edge] - x[edge])
    column = np.clip(np.ceil(at - 0.5), 0, width).astype(np.int64)
    crossings = np.zeros((height, width + 1), dtype=np.int64)
    np.add.at(crossings, (row, column), 1)
    return np.asarray(np.cumsum(crossings, axis=1)[:, :width] % 2 == 1)
