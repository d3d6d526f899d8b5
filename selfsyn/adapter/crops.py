"""What the adapter learns from: which crop of which frame stands where in which batch.

Everything about a crop follows from its position (step, slot), so a resumed fit sees what an unbroken one would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsyn.adapter.pixels import signed
from selfsyn.ahead import ahead
from selfsyn.config import RunConfig
from selfsyn.data import Frame
from selfsyn.data.mixing import mix_of
from selfsyn.images import read_image, resize_image
from selfsyn.randomness import generator

CACHE_BYTES = 512 * 2**20  # of decoded frames at working size, for each domain
READ_AHEAD = 4


class Batch(NamedTuple):
    """source_BCHW, target_BCHW: synthetic and real crops in [-1, 1].  names: the files that they come from."""

    source_BCHW: Tensor
    target_BCHW: Tensor
    names: list[str]

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return self._replace(source_BCHW=self.source_BCHW.to(device), target_BCHW=self.target_BCHW.to(device))


class Crops:
    """The endless walk over the crops of one domain; see selfsyn.data.mixing."""

    def __init__(self, frames: Sequence[Frame], *, config: RunConfig, domain: str) -> None:
        """domain: 'synthetic' or 'real'; each has its own order."""
        self.frames, self.config, self.purpose = frames, config, f"adapter-{domain}"
        self.mix = mix_of(frames, config.synthetic if domain == "synthetic" else config.real)
        width, height = config.size
        self._read = lru_cache(maxsize=CACHE_BYTES // (width * height * 3))(self._read_frame)

    def at(self, step: int, slot: int) -> tuple[Tensor, str]:
        """-> (3, crop, crop) in [-1, 1], possibly mirrored, and its file."""
        adapter, seed = self.config.adapter, self.config.seed
        position = step * adapter.batch + slot
        which = self.mix.item(position, seed=seed, purpose=self.purpose)
        random = generator(seed, f"{self.purpose}-crop", step, slot)
        return signed(_cropped(self._read(which), side=adapter.crop, random=random)), str(self.frames[which].image)

    def _read_frame(self, which: int) -> NDArray[np.uint8]:
        return resize_image(read_image(self.frames[which].image), size=self.config.size)


def batches(synthetic: Crops, real: Crops, *, first: int) -> Iterator[Batch]:
    """The batches of steps `first` to the last, in order, read ahead."""
    adapter = synthetic.config.adapter

    def read(step: int) -> Batch:
        slots = range(adapter.batch)
        source, source_names = zip(*(synthetic.at(step, slot) for slot in slots), strict=True)
        target, target_names = zip(*(real.at(step, slot) for slot in slots), strict=True)
        return Batch(torch.stack(source), torch.stack(target), [*source_names, *target_names])

    with ThreadPoolExecutor(READ_AHEAD) as threads:
        yield from ahead(read, range(first, adapter.steps), threads=threads, most=READ_AHEAD)


def _cropped(image_HWC: NDArray[np.uint8], *, side: int, random: np.random.Generator) -> NDArray[np.uint8]:
    height, width = image_HWC.shape[:2]
    top, left = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
    crop_HWC = image_HWC[top : top + side, left : left + side]
    return crop_HWC[:, ::-1] if random.random() < 0.5 else crop_HWC
