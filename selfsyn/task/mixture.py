"""Training batches: which image stands where in which batch, read and augmented by worker threads.

Everything about an example follows from its position (step, slot), so a resumed training sees what an unbroken one would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfsyn.ahead import ahead
from selfsyn.config import Augment
from selfsyn.data.augment import augmented, class_mixed, disturbed, masked, placed
from selfsyn.data.colours import Colours, colours_of, with_colours
from selfsyn.data.mixing import NOTHING, Mix
from selfsyn.data.sampling import RareClasses
from selfsyn.errors import InputError
from selfsyn.labels import IGNORE
from selfsyn.randomness import generator
from selfsyn.task.examples import Example, Item

READ_AHEAD = 4  # batches
SYNTHETIC, PSEUDO, MASKED, ONLINE, BARE = "synthetic", "pseudo", "masked", "online", "bare"


class Batch(NamedTuple):
    """images (B, H, W, 3) uint8, labels (B, H, W) uint8, names (B).

    confidences (B, H, W) uint8: the teacher's, 255 where the label is not the teacher's.
    true (B, H, W) bool: where the label is no pseudo-label.
    parts: how many images of each kind there are, one kind after another: synthetic, pseudo (real with pseudo-labels),
    masked (the same real ones, changed in another way and partly hidden), online (real, labelled in the step where their
    label is neither true nor IGNORE), bare (real without a label).
    undisturbed (N, H, W, 3) uint8: the images of the online part before colours, noise and classes of others came over them.
    """

    images: Tensor
    labels: Tensor
    confidences: Tensor
    true: Tensor
    names: list[str]
    parts: Mapping[str, int]
    undisturbed: Tensor | None = None

    def place_of(self, part: str) -> slice:
        """Where a part's images stand among all."""
        names = list(self.parts)
        first = sum(self.parts[name] for name in names[: names.index(part)])
        return slice(first, first + self.parts[part])


@dataclass(frozen=True)
class Mask:
    """What the masked copies of pseudo-labelled images hide; see config.Rounds. colour: of the hidden blocks, RGB."""

    share: float
    block: int
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Mixture:
    """What a training learns from, and how a batch is made of it.

    labelled: frames with their own labels.  pseudo: pseudo-labelled frames; `real` of each batch's images are such.
    unlabelled: real images alone.  bare, online: whether each batch has as many of them for that as of labelled frames.
    labelled_mix, pseudo_mix, unlabelled_mix: which of them stands at which position.
    labelled_rare, pseudo_rare: how they are drawn instead, by class, where rare classes shall come more often.
    class_mix: the share of the pseudo-labelled over which half the classes of a labelled frame are laid.
    colours: of real images; `recoloured` of the labelled frames take those of one drawn anew, or of the one they are laid over.
    mask: how the masked copies of the pseudo-labelled look, if there are such.
    rank, ranks: which part of each batch this is, of how many: each `ranks`-th image from the `rank`-th on.
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
    colours: Sequence[Colours] = ()
    recoloured: float = 0.0
    mask: Mask | None = None
    unlabelled: Sequence[Example] = ()
    unlabelled_mix: Mix = NOTHING
    bare: bool = False
    online: bool = False
    labelled_rare: RareClasses | None = None
    pseudo_rare: RareClasses | None = None
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if self.real and not self.pseudo:
            raise InputError("rounds.real_share asks for real images, but there are no pseudo-labels; run pseudo-label first")

    @property
    def parts(self) -> dict[str, int]:
        """How many images of each kind a batch has; see Batch."""
        synthetic = self.batch - self.real
        sizes = {
            SYNTHETIC: synthetic,
            PSEUDO: self.real,
            MASKED: self.real if self.mask else 0,
            ONLINE: synthetic if self.online else 0,
            BARE: synthetic if self.bare else 0,
        }
        return {part: size for part, size in sizes.items() if size}

    def part(self, rank: int, *, of: int) -> Mixture:
        """The part that process `rank` of so many learns from. InputError when a batch cannot be shared by so many."""
        if any(size % of for size in self.parts.values()):
            raise InputError(
                f"a batch of {self.batch} images, {self.real} of them real, cannot be shared by {of} processes;"
                " start fewer, or set train.batch and rounds.real_share so that both numbers are multiples of it"
            )
        return replace(self, rank=rank, ranks=of)

    def item(self, step: int, slot: int) -> Item:
        """The augmented example at a slot of a step's batch; slots run through the parts one after another."""
        rng = generator(self.seed, f"{self.purpose} augment", step, slot)
        inside = slot
        for part, size in self.parts.items():
            if inside < size:
                return self._makers[part](step * size + inside, rng)
            inside -= size
        raise IndexError(slot)

    @property
    def _makers(self) -> dict[str, Callable[[int, np.random.Generator], Item]]:
        return {
            SYNTHETIC: self._synthetic,
            PSEUDO: self._pseudo,
            MASKED: self._masked,
            ONLINE: self._online,
            BARE: self._bare,
        }

    def _synthetic(self, position: int, rng: np.random.Generator) -> Item:
        number, wanted = self._drawn(position, mix=self.labelled_mix, rare=self.labelled_rare, kind="synthetic")
        return self._augmented(self.labelled[number], rng, wanted=wanted, true=True, colours=self._drawn_colours(rng))

    def _drawn_colours(self, rng: np.random.Generator) -> Colours | None:
        if not self.colours or rng.random() >= self.recoloured:
            return None
        return self.colours[int(rng.integers(len(self.colours)))]

    def _real(self, position: int, rng: np.random.Generator) -> Item:
        number, wanted = self._drawn(position, mix=self.pseudo_mix, rare=self.pseudo_rare, kind="real")
        return self._augmented(self.pseudo[number], rng, wanted=wanted, true=False)

    def _bare(self, position: int, rng: np.random.Generator) -> Item:
        number, _ = self._drawn(position, mix=self.unlabelled_mix, rare=None, kind="bare")
        item = self._augmented(self.unlabelled[number], rng, wanted=None, true=False)
        return item._replace(label=np.full_like(item.label, IGNORE))

    def _online(self, position: int, rng: np.random.Generator) -> Item:
        number, _ = self._drawn(position, mix=self.unlabelled_mix, rare=None, kind="online")
        chosen = self.unlabelled[number]
        seen, open_ = placed(*chosen.read(), size=self.size, augment=self.augment, rng=rng)
        # What is cut out of the disturbed image is still labelled: the average sees it.
        image, _ = disturbed(seen, open_, augment=self.augment, rng=rng)
        item = Item(image, open_, np.zeros_like(open_), np.zeros(open_.shape, dtype=bool), chosen.name)
        return self._with_classes_laid_over(item, rng)._replace(undisturbed=seen)

    def _masked(self, position: int, rng: np.random.Generator) -> Item:
        item, mask = self._real(position, rng), self.mask
        assert mask is not None
        colour = np.array(mask.colour, dtype=np.uint8)
        return item._replace(image=masked(item.image, share=mask.share, block=mask.block, colour=colour, rng=rng))

    def _pseudo(self, position: int, rng: np.random.Generator) -> Item:
        item = self._real(position, rng)
        return self._with_classes_laid_over(item, rng) if rng.random() < self.class_mix else item

    def _with_classes_laid_over(self, item: Item, rng: np.random.Generator) -> Item:
        above = self._above(rng)
        if self.colours and rng.random() < self.recoloured:
            above = above._replace(image=with_colours(above.image, colours_of(item.image)))
        image, label, cut = class_mixed(above.image, above.label, onto=(item.image, item.label), rng=rng)
        return Item(image, label, np.where(cut, above.confidence, item.confidence), cut, item.name)

    def _above(self, rng: np.random.Generator) -> Item:
        """What is laid over a pseudo-labelled image."""
        if self.labelled_rare is None:
            often = self.labelled_mix.frequencies() if self.labelled_mix.shares else None
            number, wanted = int(rng.choice(len(self.labelled), p=often)), None
        else:
            number, wanted = self.labelled_rare.draw(rng)
        return self._augmented(self.labelled[number], rng, wanted=wanted, true=True)

    def _drawn(self, position: int, *, mix: Mix, rare: RareClasses | None, kind: str) -> tuple[int, int | None]:
        """-> the number of the example at a position, and the class that its crop should show."""
        if rare is None:
            return mix.item(position, seed=self.seed, purpose=f"{self.purpose} {kind}"), None
        return rare.draw(generator(self.seed, f"{self.purpose} {kind} rare", position))

    def _augmented(
        self, example: Example, rng: np.random.Generator, *, wanted: int | None, true: bool, colours: Colours | None = None
    ) -> Item:
        image, target = augmented(*example.read(), size=self.size, augment=self.augment, rng=rng, wanted=wanted, colours=colours)
        label, confidence = (target[..., 0], target[..., 1]) if target.ndim == 3 else (target, np.full_like(target, 255))
        return Item(image, label, confidence, np.full(label.shape, true), example.name)

    def read_batch(self, step: int) -> Batch:
        """This part of the batch of `step`."""
        parts = {name: size // self.ranks for name, size in self.parts.items()}
        slots = range(self.rank, sum(self.parts.values()), self.ranks)
        *arrays, names, undisturbed = zip(*(self.item(step, slot) for slot in slots), strict=True)
        images, labels, confidences, true = (torch.from_numpy(np.stack(array)) for array in arrays)
        seen = [picture for picture in undisturbed if picture is not None]
        to_label = torch.from_numpy(np.stack(seen)) if seen else None
        return Batch(images, labels, confidences, true, list(names), parts, to_label)


def batches(mixture: Mixture, *, first: int, last: int, workers: int) -> Iterator[Batch]:
    """The batches of steps first..last-1 in order, read ahead by `workers` threads."""
    with ThreadPoolExecutor(max(1, workers)) as threads:
        yield from ahead(mixture.read_batch, range(first, last), threads=threads, most=READ_AHEAD)
