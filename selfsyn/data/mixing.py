"""Several data sets in one role: unique frame names, and sampling frequencies. Never imports torch."""

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
    """The prefix of the frame names of a source; empty if there is only one source."""
    return f"{source.called}{SEPARATOR}" if len(sources) > 1 else ""


@dataclass(frozen=True)
class Mix:
    """An endless random sequence over a list that holds the items of all sources, source after source.

    sizes: items of each source.  shares: probability of each source, adding up to 1; empty: all items are equally likely.
    """

    sizes: tuple[int, ...]
    shares: tuple[float, ...] = ()

    def item(self, position: int, *, seed: int, purpose: str) -> int:
        """The index of the item at `position`. The source is random by shares; the items of a source come in shuffled epochs."""
        if not self.shares:
            return item_at(position, count=sum(self.sizes), seed=seed, purpose=purpose)
        source = int(generator(seed, f"{purpose} source", position).choice(len(self.sizes), p=self.shares))
        inside = item_at(position, count=self.sizes[source], seed=seed, purpose=f"{purpose} {source}")
        return sum(self.sizes[:source]) + inside

    def frequencies(self) -> NDArray[np.float64]:
        """(N,) probability of each item; they add up to 1."""
        shares = self.shares or [size / sum(self.sizes) for size in self.sizes]
        return np.concatenate([np.full(size, share / max(size, 1)) for size, share in zip(self.sizes, shares, strict=True)])


NOTHING = Mix(())


def by_source(frames: Sequence[F], sources: Sequence[Source]) -> list[F]:
    """The frames sorted by source, otherwise in their order."""
    prefixes = [prefix(source, sources) for source in sources]
    return sorted(frames, key=lambda frame: next(i for i, start in enumerate(prefixes) if frame.name.startswith(start)))


def mix_of(frames: Sequence[Frame], sources: Sequence[Source]) -> Mix:
    """The mix of `frames`, which must be sorted by source. Without shares all frames are equally likely."""
    if not any(source.share for source in sources):
        return Mix((len(frames),))
    sizes = tuple(sum(frame.name.startswith(prefix(source, sources)) for frame in frames) for source in sources)
    whole = sum(source.share for source in sources)
    return Mix(sizes, tuple(source.share / whole for source in sources))
