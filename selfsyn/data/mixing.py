"""Several data sets in one role: how their frames are named apart, and how often each is drawn. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from selfsyn.config import Source
from selfsyn.data.frames import Frame
from selfsyn.randomness import generator, item_at

SEPARATOR = "__"

F = TypeVar("F", bound=Frame)


def prefix(source: Source, sources: Sequence[Source]) -> str:
    """What the names of a source's frames begin with: nothing where it is alone."""
    return f"{source.called}{SEPARATOR}" if len(sources) > 1 else ""


@dataclass(frozen=True)
class Mix:
    """Which item of a list stands at each position of an endless walk. The list holds one source's items after another's.

    sizes: items of each source.  shares: how often each source is drawn, adding up to 1; empty: each item as often as any.
    """

    sizes: tuple[int, ...]
    shares: tuple[float, ...] = ()

    def item(self, position: int, *, seed: int, purpose: str) -> int:
        """The item at `position`: sources at random by their shares, the items of each one in epochs."""
        if not self.shares:
            return item_at(position, count=sum(self.sizes), seed=seed, purpose=purpose)
        source = int(generator(seed, f"{purpose} source", position).choice(len(self.sizes), p=self.shares))
        inside = item_at(position, count=self.sizes[source], seed=seed, purpose=f"{purpose} {source}")
        return sum(self.sizes[:source]) + inside

    def frequencies(self) -> NDArray[np.float64]:
        """How often each item is drawn; they add up to 1."""
        shares = self.shares or [size / sum(self.sizes) for size in self.sizes]
        return np.concatenate([np.full(size, share / max(size, 1)) for size, share in zip(self.sizes, shares, strict=True)])


NOTHING = Mix(())


def by_source(frames: Sequence[F], sources: Sequence[Source]) -> list[F]:
    """The frames source after source, otherwise in their order."""
    prefixes = [prefix(source, sources) for source in sources]
    return sorted(frames, key=lambda frame: next(i for i, start in enumerate(prefixes) if frame.name.startswith(start)))


def mix_of(frames: Sequence[Frame], sources: Sequence[Source]) -> Mix:
    """The mix of `frames`, which stand source after source. Without shares every frame counts alike."""
    if not any(source.share for source in sources):
        return Mix((len(frames),))
    sizes = tuple(sum(frame.name.startswith(prefix(source, sources)) for frame in frames) for source in sources)
    whole = sum(source.share for source in sources)
    return Mix(sizes, tuple(source.share / whole for source in sources))
