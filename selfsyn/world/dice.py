"""Random draws for the street world: a generator that speaks in ranges, chances and palettes."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

Range = tuple[float, float]
Colour = tuple[float, float, float]
T = TypeVar("T")


class Dice:
    """All randomness of one stream of one frame: a function of (seed, look, index, stream) and of nothing else."""

    def __init__(self, seed: int, *, look: int, index: int, stream: int) -> None:
        self.generator = np.random.default_rng((seed, look, index, stream))

    def uniform(self, bounds: Range) -> float:
        """A number in [low, high)."""
        return bounds[0] + (bounds[1] - bounds[0]) * float(self.generator.random())

    def chance(self, probability: float) -> bool:
        """True with the given probability in [0, 1]."""
        return bool(self.generator.random() < probability)

    def whole(self, bounds: tuple[int, int]) -> int:
        """An integer in [low, high], both included."""
        return int(self.generator.integers(bounds[0], bounds[1] + 1))

    def count(self, mean: float) -> int:
        """How many of something there are: Poisson."""
        return int(self.generator.poisson(mean))

    def normal(self, sigma: float) -> float:
        """A normal deviate around 0."""
        return sigma * float(self.generator.standard_normal())

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices, all equally likely."""
        return choices[int(self.generator.integers(len(choices)))]

    def weighted(self, weights: Mapping[T, float]) -> T:
        """One key, with a probability proportional to its weight (weights are not negative, one is positive)."""
        left = float(self.generator.random()) * sum(weights.values())
        for key, weight in weights.items():
            left -= weight
            if left < 0:
                return key
        return key

    def shade(self, palette: Sequence[Colour], *, spread: float = 0.15) -> Colour:
        """A palette colour, made up to `spread` lighter or darker as a whole and a little off in each channel."""
        level = 1 + self.uniform((-spread, spread))
        red, green, blue = (channel * level * (1 + self.uniform((-0.06, 0.06))) for channel in self.pick(palette))
        return red, green, blue

    def hue(self, *, hue: Range, saturation: Range, value: Range) -> Colour:
        """A linear RGB colour drawn from ranges of hue, saturation and value, all in [0, 1]."""
        return colorsys.hsv_to_rgb(self.uniform(hue) % 1.0, self.uniform(saturation), self.uniform(value))
