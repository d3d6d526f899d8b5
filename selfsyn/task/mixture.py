"""Training batches: which image stands where in which batch, read and augmented by worker threads.

Everything about an example follows from its position (step, slot), so a resumed training sees what an unbroken one would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfsyn.ahead import ahead
from selfsyn.config import Augment
from selfsyn.data.augment import augmented, class_mixed
from selfsyn.data.mixing import NOTHING, Mix
from selfsyn.errors import InputError
from selfsyn.randomness import generator
from selfsyn.task.examples import Example, Item, Picture

READ_AHEAD = 4  # batches
SYNTHETIC, PSEUDO, BARE = "synthetic", "pseudo", "bare"


class Batch(NamedTuple):
    """images (B, H, W, 3) uint8, labels (B, H, W) uint8, names (B).

    true (B, H, W) bool: where the label is no pseudo-label.
    parts: how many images of each kind there are, one kind after another: synthetic, pseudo (real with pseudo-labels),
    bare (real without a label).
    """

    images: Tensor
    labels: Tensor
    true: Tensor
    names: list[str]
    parts: Mapping[str, int]


@dataclass(frozen=True)
class Mixture:
    """What a training learns from, and how a batch is made of it.

    labelled: frames with their own labels.  pseudo: pseudo-labelled frames; `real` of each batch's images are such.
    bare: real images alone; where there are any, each batch also has as many of them as of labelled frames.
    labelled_mix, pseudo_mix, bare_mix: which of them stands at which position.
    class_mix: the share of the pseudo-labelled over which half the classes of a labelled frame are laid.
    """

    labelled: Sequence[Example]
    labelled_mix: Mix
    batch: int
    size: tuple[int, int]
    augment: Augment
    seed: int
    purpose: str
    pseudo: Sequence[Example] = ()
    pseudo_mix: Mix = NOTHING
    real: int = 0
    class_mix: float = 0.0
    bare: Sequence[Example] = ()
    bare_mix: Mix = NOTHING

    def __post_init__(self) -> None:
        if self.real and not self.pseudo:
            raise InputError("rounds.real_share asks for real images, but there are no pseudo-labels; run pseudo-label first")

    @property
    def parts(self) -> dict[str, int]:
        """How many images of each kind a batch has; see Batch."""
        synthetic = self.batch - self.real
        sizes = {SYNTHETIC: synthetic, PSEUDO: self.real, BARE: synthetic if self.bare else 0}
        return {part: size for part, size in sizes.items() if size}

    def item(self, step: int, slot: int) -> Item:
        """The augmented example at a slot of a step's batch; slots run through the parts one after another."""
        rng = generator(self.seed, f"{self.purpose} augment", step, slot)
        inside = slot
        for part, size in self.parts.items():
            if inside < size:
                make = {SYNTHETIC: self._synthetic, PSEUDO: self._pseudo, BARE: self._bare}[part]
                return make(step * size + inside, rng)
            inside -= size
        raise IndexError(slot)

    def _synthetic(self, position: int, rng: np.random.Generator) -> Item:
        chosen = self.labelled[self.labelled_mix.item(position, seed=self.seed, purpose=f"{self.purpose} synthetic")]
        image, label = self._augmented(chosen, rng)
        return Item(image, label, np.ones(label.shape, dtype=bool), chosen.name)

    def _pseudo(self, position: int, rng: np.random.Generator) -> Item:
        chosen = self.pseudo[self.pseudo_mix.item(position, seed=self.seed, purpose=f"{self.purpose} real")]
        image, label = self._augmented(chosen, rng)
        if rng.random() >= self.class_mix:
            return Item(image, label, np.zeros(label.shape, dtype=bool), chosen.name)
        above = self._augmented(self.labelled[int(rng.integers(len(self.labelled)))], rng)
        return Item(*class_mixed(*above, onto=(image, label), rng=rng), chosen.name)

    def _bare(self, position: int, rng: np.random.Generator) -> Item:
        chosen = self.bare[self.bare_mix.item(position, seed=self.seed, purpose=f"{self.purpose} bare")]
        image, label = self._augmented(chosen, rng)
        return Item(image, label, np.zeros(label.shape, dtype=bool), chosen.name)

    def _augmented(self, example: Example, rng: np.random.Generator) -> tuple[Picture, Picture]:
        return augmented(*example.read(), size=self.size, augment=self.augment, rng=rng)

    def read_batch(self, step: int) -> Batch:
        """The batch of `step`."""
        parts = self.parts
        *arrays, names = zip(*(self.item(step, slot) for slot in range(sum(parts.values()))), strict=True)
        images, labels, true = (torch.from_numpy(np.stack(array)) for array in arrays)
        return Batch(images, labels, true, list(names), parts)


def batches(mixture: Mixture, *, first: int, last: int, workers: int) -> Iterator[Batch]:
    """The batches of steps first..last-1 in order, read ahead by `workers` threads."""
    with ThreadPoolExecutor(max(1, workers)) as threads:
        yield from ahead(mixture.read_batch, range(first, last), threads=threads, most=READ_AHEAD)
