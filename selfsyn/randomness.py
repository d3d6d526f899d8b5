"""Randomness as a function of (seed, purpose, step, item): a resumed training needs one integer and no generator state."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """The generator of a purpose and position, independent of all others."""
    return np.random.default_rng((seed, zlib.crc32(purpose.encode()), *position))


def torch_seed(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed for torch.manual_seed; see `generator`."""
    return int(generator(seed, purpose, *position).integers(2**63))


def item_at(position: int, *, count: int, seed: int, purpose: str) -> int:
    """The item at `position` of an endless sequence over `count` items, shuffled in every epoch."""
    epoch, offset = divmod(position, count)
    return int(generator(seed, purpose, epoch).permutation(count)[offset])
