"""The adapter's training crops.

A crop depends only on its position (step, slot), so a resumed fit sees the same crops as an uninterrupted one.
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

from selfsyn.adapter.adapt import read_sized
from selfsyn.adapter.pixels import signed
from selfsyn.adapter.planes import Window, crop_noise, place
from selfsyn.ahead import ahead
from selfsyn.config import RunConfig
from selfsyn.data import Frame
from selfsyn.data.mixing import mix_of
from selfsyn.errors import InputError
from selfsyn.images import image_size
from selfsyn.randomness import generator

CACHE_BYTES = 512 * 2**20  # of decoded frames at working size, for each domain
READ_AHEAD = 4


class Views(NamedTuple):
    """A generator's input for a batch of crops: images in [-1, 1], and their planes (selfsyn.adapter.planes)."""

    image_BCHW: Tensor
    place_BCHW: Tensor
    noise_BCHW: Tensor

    def to(self, device: torch.device) -> Views:
        """The same on `device`."""
        return Views(*(part.to(device) for part in self))


class Batch(NamedTuple):
    """source, target: synthetic and real crops.  names: the files of the crops."""

    source: Views
    target: Views
    names: list[str]

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return self._replace(source=self.source.to(device), target=self.target.to(device))


class Crops:
    """The endless sequence of crops of a domain; see selfsyn.data.mixing."""

    def __init__(self, frames: Sequence[Frame], *, config: RunConfig, domain: str) -> None:
        """domain: 'synthetic' or 'real'; each has its own random order."""
        self.frames, self.config, self.purpose = frames, config, f"adapter-{domain}"
        self.mix = mix_of(frames, config.synthetic if domain == "synthetic" else config.real)
        width, height = config.adapted_size or image_size(frames[0].image)
        self._read = lru_cache(maxsize=CACHE_BYTES // (width * height * 3))(self._read_frame)

    def at(self, step: int, slot: int) -> tuple[Views, str]:
        """-> (3, crop, crop) in [-1, 1], possibly mirrored, with its planes, and its file."""
        adapter, seed = self.config.adapter, self.config.seed
        position = step * adapter.batch + slot
        which = self.mix.item(position, seed=seed, purpose=self.purpose)
        random = generator(seed, f"{self.purpose}-crop", step, slot)
        view = _cropped(self._read(which), side=adapter.crop, random=random)
        noise_CHW = crop_noise(adapter.crop, seed=seed, purpose=f"{self.purpose}-noise", step=step, slot=slot)
        return view._replace(noise_BCHW=noise_CHW), str(self.frames[which].image)

    def _read_frame(self, which: int) -> NDArray[np.uint8]:
        image_HWC = read_sized(self.frames[which], size=self.config.adapted_size)
        side = self.config.adapter.crop
        if min(image_HWC.shape[:2]) < side:
            raise InputError(
                f"{self.frames[which].image}: {image_HWC.shape[1]}x{image_HWC.shape[0]}; expected at least adapter.crop"
                f" {side} on each side; lower adapter.crop or set adapter.full_resolution=false"
            )
        return image_HWC


def batches(synthetic: Crops, real: Crops, *, first: int) -> Iterator[Batch]:
    """Yield the batches from step `first` to the last, in order, read ahead."""
    adapter = synthetic.config.adapter

    def read(step: int) -> Batch:
        slots = range(adapter.batch)
        source, source_names = zip(*(synthetic.at(step, slot) for slot in slots), strict=True)
        target, target_names = zip(*(real.at(step, slot) for slot in slots), strict=True)
        return Batch(_stacked(source), _stacked(target), [*source_names, *target_names])

    with ThreadPoolExecutor(READ_AHEAD) as threads:
        yield from ahead(read, range(first, adapter.steps), threads=threads, most=READ_AHEAD)


def _cropped(image_HWC: NDArray[np.uint8], *, side: int, random: np.random.Generator) -> Views:
    height, width = image_HWC.shape[:2]
    window = Window(int(random.integers(height - side + 1)), int(random.integers(width - side + 1)), side, side)
    image_CHW = signed(image_HWC[window.top : window.top + side, window.left : window.left + side])
    place_CHW = place(window, whole=(width, height))
    if random.random() < 0.5:
        image_CHW, place_CHW = image_CHW.flip(-1), place_CHW.flip(-1)
    return Views(image_CHW, place_CHW, torch.empty(0))


def _stacked(views: Sequence[Views]) -> Views:
    return Views(*(torch.stack(parts) for parts in zip(*views, strict=True)))
