"""Extra input planes of a generator: the position of each pixel in the whole image, and noise.

Both depend only on the position, so a crop or a tile gets the same values as the whole image.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfsyn.randomness import generator

PLACES = 2  # planes of `place`
NOISES = 3  # planes of noise, as many as the image has colours
CELL = 128  # pixels: noise is generated in cells of this side, so that a tile needs only the cells that it overlaps


class Window(NamedTuple):
    """A part of an image, in pixels from the upper left corner of the image."""

    top: int
    left: int
    height: int
    width: int


def place(window: Window, *, whole: tuple[int, int]) -> Tensor:
    """-> (PLACES, height, width): the row, -1 at the top to 1 at the bottom, and the squared distance from the middle, 0 to 1.

    Haze and light depend on the distance of an object, which in a street image correlates with the row; lenses darken the
    corners. Both planes are symmetric under mirroring.  whole: (width, height) of the image that contains the window.
    """
    row_H = (torch.arange(window.top, window.top + window.height) + 0.5) * (2 / whole[1]) - 1
    column_W = (torch.arange(window.left, window.left + window.width) + 0.5) * (2 / whole[0]) - 1
    row_HW = row_H[:, None].expand(window.height, window.width)
    return torch.stack([row_HW, (row_HW.square() + column_W.square()) / 2])


def crop_noise(side: int, *, seed: int, purpose: str, step: int, slot: int) -> Tensor:
    """-> (NOISES, side, side) standard normal, a function of `seed`, `purpose` and the crop's position."""
    return torch.from_numpy(generator(seed, purpose, step, slot).standard_normal((NOISES, side, side), dtype=np.float32))


def frame_noise(window: Window, *, seed: int, name: str) -> Tensor:
    """-> (NOISES, height, width) standard normal, a function of `seed`, the frame's name and the pixel's position."""
    noise_CHW = np.empty((NOISES, window.height, window.width), np.float32)
    bottom, right = window.top + window.height, window.left + window.width
    for top in range(window.top // CELL * CELL, bottom, CELL):
        for left in range(window.left // CELL * CELL, right, CELL):
            random = generator(seed, "adapt-noise", zlib.crc32(name.encode()), top, left)
            cell_CHW = random.standard_normal((NOISES, CELL, CELL), dtype=np.float32)
            rows = slice(max(top, window.top), min(top + CELL, bottom))
            columns = slice(max(left, window.left), min(left + CELL, right))
            noise_CHW[:, _shifted(rows, window.top), _shifted(columns, window.left)] = cell_CHW[
                :, _shifted(rows, top), _shifted(columns, left)
            ]
    return torch.from_numpy(noise_CHW)


def _shifted(part: slice, origin: int) -> slice:
    return slice(part.start - origin, part.stop - origin)
