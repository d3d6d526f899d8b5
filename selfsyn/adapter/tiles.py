"""Translation of a whole image in bounded memory, tile by tile; each tile is padded by the generator's receptive field."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from selfsyn.adapter.generator import ALIGNMENT, Generator
from selfsyn.adapter.pixels import bytes_of, signed
from selfsyn.adapter.planes import Window, frame_noise, place

TILE = 512  # side in pixels of a tile without its padding; a multiple of ALIGNMENT


@torch.no_grad()
def translate(generator: Generator, image_HWC: NDArray[np.uint8], *, seed: int, name: str, tile: int = TILE) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB -> the image translated to the other domain; its grain is a function of `seed` and `name`.

    The tiles have no seams: a generator is local, so each pixel equals that of a translation of the whole image.
    """
    result_HWC = np.empty_like(image_HWC)
    margin = _aligned(generator.reach)
    for inner in _tiles(*image_HWC.shape[:2], tile=tile):
        outer = _grown(inner, margin, *image_HWC.shape[:2])
        made_HWC = _translate_window(generator, image_HWC, outer, seed=seed, name=name)
        result_HWC[_slices(inner)] = made_HWC[_slices(inner._replace(top=inner.top - outer.top, left=inner.left - outer.left))]
    return result_HWC


def _translate_window(
    generator: Generator, image_HWC: NDArray[np.uint8], window: Window, *, seed: int, name: str
) -> NDArray[np.uint8]:
    part_HWC = image_HWC[_slices(window)]
    missing = [(0, -side % ALIGNMENT) for side in part_HWC.shape[:2]]
    if any(
        after for _, after in missing
    ):  # only at the lower and right border; all other tile borders are multiples of ALIGNMENT
        part_HWC = np.pad(part_HWC, (*missing, (0, 0)), mode="reflect")
    window = window._replace(height=part_HWC.shape[0], width=part_HWC.shape[1])
    device = next(generator.parameters()).device
    whole = (image_HWC.shape[1], image_HWC.shape[0])
    planes = (signed(part_HWC), place(window, whole=whole), frame_noise(window, seed=seed, name=name))
    return bytes_of(generator(*(plane[None].to(device) for plane in planes)).grainy_BCHW[0])


def _tiles(height: int, width: int, *, tile: int) -> Iterator[Window]:
    for top, left in product(range(0, height, tile), range(0, width, tile)):
        yield Window(top, left, min(tile, height - top), min(tile, width - left))


def _grown(window: Window, margin: int, height: int, width: int) -> Window:
    top, left = max(0, window.top - margin), max(0, window.left - margin)
    bottom = min(height, window.top + window.height + margin)
    right = min(width, window.left + window.width + margin)
    return Window(top, left, bottom - top, right - left)


def _aligned(pixels: int) -> int:
    return -(-pixels // ALIGNMENT) * ALIGNMENT


def _slices(window: Window) -> tuple[slice, slice]:
    return slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)
