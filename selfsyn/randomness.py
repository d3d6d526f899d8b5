"""Randomness as a function of position: (seed, what for, step, item). A resume needs one integer, never a generator's state."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """The generator of one position; other purposes and positions are independent of it."""
    return np.random.default_rng((seed, zlib.crc32(purpose.encode()), *position))


def torch_seed(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed of one position, for torch.manual_seed."""
    return int(generator(seed, purpose, *position).integers(2**63))


def item_at(position: int, *, count: int, seed: int, purpose: str) -> int:
    """The item at `position` of an endless walk over `count` items that visits each once an epoch."""
    epoch, offset = divmod(position, count)
    return int(generator(seed, purpose, epoch).permutation(count)[offset])
