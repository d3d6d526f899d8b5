"""The images of a batch: a source chooses an example for each position, a maker augments and mixes it. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from selfsyn.config import Augment
from selfsyn.data.augment import Record, augmented, class_mixed, disturbed, masked, placed
from selfsyn.data.color_transfer import Colours, colours_of, with_colours
from selfsyn.data.mixing import Mix
from selfsyn.data.sampling import RareClasses
from selfsyn.randomness import generator
from selfsyn.task.examples import Example


class Item(NamedTuple):
    """One image of a batch and the maps that belong to it, all of the working size.

    arrays: 'image' (H, W, 3) RGB, 'label' (H, W) train ids, 'true' (H, W) bool where the label is ground truth, and the other
    maps of the part.
    """

    name: str
    arrays: Record


class Drawn(NamedTuple):
    """An example, and the class that its crop should show (None: any)."""

    example: Example
    wanted: int | None


class Maker(Protocol):
    """Makes the images of one part of a batch."""

    def make(self, position: int, rng: np.random.Generator) -> Item:
        """The image at `position` of the part's endless sequence; `rng` decides its augmentation."""
        ...


@dataclass(frozen=True)
class ExampleSource:
    """A sequence of examples, and how they are augmented.

    mix: which example comes at which position.  rare: rare-class sampling, which replaces `mix` if given.
    purpose: names the random stream.  size: (width, height).
    """

    examples: Sequence[Example]
    mix: Mix
    seed: int
    purpose: str
    size: tuple[int, int]
    augment: Augment
    rare: RareClasses | None = None

    def at(self, position: int) -> Drawn:
        """The example at a position."""
        if self.rare is None:
            return Drawn(self.examples[self.mix.item(position, seed=self.seed, purpose=self.purpose)], None)
        number, wanted = self.rare.draw(generator(self.seed, f"{self.purpose} rare", position))
        return Drawn(self.examples[number], wanted)

    def any(self, rng: np.random.Generator) -> Drawn:
        """A random example, with the same frequencies as the sequence of `at`."""
        if self.rare is None:
            often = self.mix.frequencies() if self.mix.shares else None
            return Drawn(self.examples[int(rng.choice(len(self.examples), p=often))], None)
        number, wanted = self.rare.draw(rng)
        return Drawn(self.examples[number], wanted)

    def seen(self, drawn: Drawn, rng: np.random.Generator, *, true: bool, colours: Colours | None = None) -> Item:
        """The augmented example. true: whether its labels are ground truth."""
        record = drawn.example.read()
        arrays = augmented(record, size=self.size, augment=self.augment, rng=rng, wanted=drawn.wanted, colours=colours)
        return Item(drawn.example.name, arrays | {"true": np.full(arrays["label"].shape, true)})


@dataclass(frozen=True)
class Labelled:
    """Frames with ground truth. The share `recoloured` of them takes the colours of a random real image."""

    source: ExampleSource
    colours: Sequence[Colours] = ()
    recoloured: float = 0.0

    def make(self, position: int, rng: np.random.Generator) -> Item:
        """See Maker."""
        drawn = self.source.at(position)
        number = int(rng.integers(len(self.colours))) if self._recolours(rng) else None
        return self.source.seen(drawn, rng, true=True, colours=None if number is None else self.colours[number])

    def over(self, item: Item, rng: np.random.Generator) -> Item:
        """Paste half the classes of a random frame onto a real image (ClassMix), with probability `recoloured` in its colours."""
        above, below = self.source.seen(self.source.any(rng), rng, true=True).arrays, item.arrays
        image = with_colours(above["image"], colours_of(below["image"])) if self._recolours(rng) else above["image"]
        image, label, cut = class_mixed(image, above["label"], onto=(below["image"], below["label"]), rng=rng)
        return Item(item.name, below | {"image": image, "label": label, "true": cut | below.get("true", False)})

    def _recolours(self, rng: np.random.Generator) -> bool:
        return len(self.colours) > 0 and rng.random() < self.recoloured


@dataclass(frozen=True)
class Pseudo:
    """Real images with pseudo-labels. Onto the share `class_mix` of them, half the classes of a labelled frame are pasted."""

    source: ExampleSource
    above: Labelled
    class_mix: float = 0.0

    def make(self, position: int, rng: np.random.Generator) -> Item:
        """See Maker."""
        drawn = self.source.at(position)
        item = self.source.seen(drawn, rng, true=drawn.example.certain)
        return self.above.over(item, rng) if rng.random() < self.class_mix else item


@dataclass(frozen=True)
class Masked:
    """Real images with pseudo-labels and masked blocks (MIC).

    share: of the blocks that are masked, 0..1.  block: side in pixels.  colour: RGB of the masked blocks.
    """

    source: ExampleSource
    share: float
    block: int
    colour: tuple[int, int, int]

    def make(self, position: int, rng: np.random.Generator) -> Item:
        """See Maker."""
        drawn = self.source.at(position)
        name, arrays = self.source.seen(drawn, rng, true=drawn.example.certain)
        colour = np.array(self.colour, dtype=np.uint8)
        return Item(name, arrays | {"image": masked(arrays["image"], share=self.share, block=self.block, colour=colour, rng=rng)})


@dataclass(frozen=True)
class Online:
    """Real images labelled by the EMA net during the step (DACS). Half the classes of a labelled frame are pasted onto each.

    'to_label' (H, W) bool: the pixels that the EMA net labels.  'undisturbed' (H, W, 3): the EMA net's input, the image before
    colour jitter, noise and ClassMix.
    """

    source: ExampleSource
    above: Labelled

    def make(self, position: int, rng: np.random.Generator) -> Item:
        """See Maker."""
        example, size, augment = self.source.at(position).example, self.source.size, self.source.augment
        seen = placed(example.read(), size=size, augment=augment, rng=rng)
        image = disturbed(seen["image"], augment=augment, rng=rng)
        mixed = self.above.over(Item(example.name, {"image": image, "label": seen["label"]}), rng).arrays
        to_label = (seen["open"] > 0) & ~mixed["true"]
        return Item(example.name, mixed | {"to_label": to_label, "undisturbed": seen["image"]})


@dataclass(frozen=True)
class Bare:
    """Unlabelled real images."""

    source: ExampleSource

    def make(self, position: int, rng: np.random.Generator) -> Item:
        """See Maker."""
        name, arrays = self.source.seen(self.source.at(position), rng, true=False)
        return Item(name, {map_: arrays[map_] for map_ in ("image", "label", "true")})
