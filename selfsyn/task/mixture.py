"""Training batches, read and augmented by worker threads.

An image depends only on its position (step, slot), so a resumed training sees the same images as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfsyn.ahead import ahead
from selfsyn.randomness import generator
from selfsyn.task.examples import Example
from selfsyn.task.makers import Item, Maker

READ_AHEAD = 4  # batches
# The parts of a batch: frames with ground truth, real images with pseudo-labels, masked copies of these, real images that the
# EMA net labels during the step, unlabelled real images.
SYNTHETIC, PSEUDO, MASKED, ONLINE, BARE = "synthetic", "pseudo", "masked", "online", "bare"


class Batch(NamedTuple):
    """A batch.

    parts: {part: {name: array (B, ...) over the B images of the part}}, see makers.Item.  names: of all images, in the order
    of the parts.
    """

    parts: Mapping[str, Mapping[str, Tensor]]
    names: list[str]

    @property
    def sizes(self) -> dict[str, int]:
        """{part: number of images}."""
        return {part: len(arrays["image"]) for part, arrays in self.parts.items()}

    def whole(self, name: str) -> Tensor:
        """The array `name` of all parts, concatenated along the batch."""
        return torch.cat([arrays[name] for arrays in self.parts.values()])


class Place(NamedTuple):
    """A place in a batch: the part, the number inside the part, and the number in the whole batch."""

    part: str
    inside: int
    slot: int


@dataclass(frozen=True)
class Mixture:
    """How the batches of a training are made.

    makers: of each part.  sizes: images of each part in a batch, in the order of the parts.
    labelled: the frames with ground truth, from which the class weights are counted.
    rank, ranks: this process and the number of processes; it takes every `ranks`-th image of a part from the `rank`-th on.
    """

    makers: Mapping[str, Maker]
    sizes: Mapping[str, int]
    labelled: Sequence[Example]
    seed: int
    purpose: str
    rank: int = 0
    ranks: int = 1

    def shared(self, rank: int, *, ranks: int) -> Mixture:
        """The share of process `rank` of `ranks`."""
        return replace(self, rank=rank, ranks=ranks)

    @property
    def places(self) -> list[Place]:
        """The places of this process's share of a batch. Slots are numbered through all parts."""
        places, first = [], 0
        for part, size in self.sizes.items():
            places += [Place(part, inside, first + inside) for inside in range(self.rank, size, self.ranks)]
            first += size
        return places

    def read_batch(self, step: int) -> Batch:
        """This process's share of the batch of `step`."""
        return self.collected([self.item(step, place) for place in self.places])

    def item(self, step: int, place: Place) -> Item:
        """The image at `place` in the batch of `step`."""
        rng = generator(self.seed, f"{self.purpose} augment", step, place.slot)
        return self.makers[place.part].make(step * self.sizes[place.part] + place.inside, rng)

    def collected(self, items: Sequence[Item]) -> Batch:
        """The batch of these images, which are in the order of `places`."""
        parts: dict[str, list[Item]] = {part: [] for part in self.sizes}
        for place, item in zip(self.places, items, strict=True):
            parts[place.part].append(item)
        return Batch({part: _stacked(some) for part, some in parts.items()}, [item.name for item in items])


def _stacked(items: Sequence[Item]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.stack([item.arrays[name] for item in items])) for name in items[0].arrays}


def batches(mixture: Mixture, *, first: int, last: int, workers: int) -> Iterator[Batch]:
    """The batches of steps first..last-1 in order, read ahead by `workers` threads."""
    places = mixture.places
    with ThreadPoolExecutor(max(1, workers)) as threads:
        # A task for each image, not for each batch: more threads than READ_AHEAD would have nothing to do.
        wanted = ((step, place) for step in range(first, last) for place in places)
        items = ahead(lambda one: mixture.item(*one), wanted, threads=threads, most=max(READ_AHEAD * len(places), 2 * workers))
        for _ in range(first, last):
            yield mixture.collected(list(islice(items, len(places))))
