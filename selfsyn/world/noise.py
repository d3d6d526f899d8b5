"""Noise the materials are made of: tables baked once, then read with one to four look-ups per point.

Every table is rank-equalised, so its values are uniform in [0, 1] and `noise > 0.7` covers 30 % of the area.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
_SIDE = 256  # texels of a plane's side; a power of two, so that wrapping round is a bit mask
_TEXELS_PER_UNIT = 16
_VOLUME_SIDE = 64


def fractal(u: Floats, v: Floats) -> Floats:
    """Smooth noise in [0, 1] whose largest features are one unit wide; repeats every 16 units."""
    plane = _plane()
    u, v = u * np.float32(_TEXELS_PER_UNIT), v * np.float32(_TEXELS_PER_UNIT)
    column, row = np.floor(u), np.floor(v)
    right, down = u - column, v - row
    i, j = column.astype(np.int32) & (_SIDE - 1), row.astype(np.int32) & (_SIDE - 1)
    i_next, j_next = (i + 1) & (_SIDE - 1), (j + 1) & (_SIDE - 1)
    top = plane[j, i] * (1 - right) + plane[j, i_next] * right
    bottom = plane[j_next, i] * (1 - right) + plane[j_next, i_next] * right
    return top + (bottom - top) * down


def speckle(u: Floats, v: Floats) -> Floats:
    """The same noise read without smoothing: one look-up, for grain and scribbles."""
    i = np.floor(u * _TEXELS_PER_UNIT).astype(np.int32) & (_SIDE - 1)
    j = np.floor(v * _TEXELS_PER_UNIT).astype(np.int32) & (_SIDE - 1)
    return _plane()[j, i]


def foliage(x: Floats, y: Floats, z: Floats) -> Floats:
    """Noise in a volume, in [0, 1], one look-up; largest features 8 units wide, repeats every 64."""
    mask = _VOLUME_SIDE - 1
    i, j, k = (np.floor(axis).astype(np.int32) & mask for axis in (x, y, z))
    return _volume()[i, j, k]


def cell(i: Floats, j: Floats, *, salt: int = 0) -> Floats:
    """One number in [0, 1) for each whole-numbered cell (i, j): a brick, a window, a paving stone."""
    mixed = i.astype(np.int32).astype(np.uint32) * np.uint32(0x9E3779B1)
    mixed ^= (j.astype(np.int32).astype(np.uint32) + np.uint32(salt)) * np.uint32(0x85EBCA77)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0xC2B2AE3D)
    return ((mixed >> np.uint32(8)) & np.uint32(0xFFFF)).astype(np.float32) / np.float32(65536)


@cache
def _plane() -> Floats:
    return _baked((_SIDE, _SIDE), first_cells=_SIDE // _TEXELS_PER_UNIT, octaves=4, seed=7)


@cache
def _volume() -> Floats:
    return _baked((_VOLUME_SIDE,) * 3, first_cells=8, octaves=3, seed=8)


def _baked(shape: tuple[int, ...], *, first_cells: int, octaves: int, seed: int) -> Floats:
    """Value noise that wraps round: octaves of random lattices, each twice as fine and half as strong."""
    generator = np.random.default_rng(seed)
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        cells = first_cells << octave
        lattice = generator.random((cells,) * len(shape), dtype=np.float32)
        for axis, size in enumerate(shape):
            lattice = _stretched(lattice, axis=axis, size=size)
        total += lattice * np.float32(0.5**octave)
    ranks = np.empty(total.size, np.float32)
    ranks[np.argsort(total, axis=None, kind="stable")] = np.linspace(0, 1, total.size, dtype=np.float32)
    return ranks.reshape(shape)


def _stretched(lattice: Floats, *, axis: int, size: int) -> Floats:
    position = np.arange(size, dtype=np.float32) * np.float32(lattice.shape[axis] / size)
    before = position.astype(np.int32)
    part = position - before
    part = (part * part * (3 - 2 * part)).reshape([-1 if a == axis else 1 for a in range(lattice.ndim)])
    after = (before + 1) % lattice.shape[axis]
    return np.take(lattice, before, axis) * (1 - part) + np.take(lattice, after, axis) * part
