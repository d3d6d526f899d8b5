"""A few of many, the same ones every time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def sample_of(items: Sequence[T], *, count: int) -> list[T]:
    """At most `count` of the items, evenly spread: the same ones every time."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]
