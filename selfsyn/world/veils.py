"""Things one can see through - railings, spoked wheels, bare crowns: a solid with a coverage between 0 and 1.

A veil is labelled over its whole outline, as a person draws it; its colour covers only its bars and twigs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from selfsyn.world.noise import Floats, Mask, fractal
from selfsyn.world.solids import Solid, Surface


class Veil(NamedTuple):
    """`cover(surface, facing)` -> coverage (N,) in [0, 1] and whether the point lies inside the outline (N,) bool."""

    solid: Solid
    cover: Callable[[Surface, Floats], tuple[Floats, Mask]]


def railing(solid: Solid, *, spacing: float, share: float, rails: int) -> Veil:
    """Upright bars `spacing` metres apart that fill a share of the panel, and level rails."""
    return Veil(solid, partial(_railing_cover, spacing=spacing, share=share, rails=rails))


def wheel(solid: Solid) -> Veil:
    """A tyre around thin spokes; the solid is a flat cylinder."""
    return Veil(solid, _wheel_cover)


def twigs(solid: Solid, *, grain: float, offset: float, density: float) -> Veil:
    """The bare crown of a tree; the solid is an ellipsoid."""
    return Veil(solid, partial(_twig_cover, grain=grain, offset=offset, density=density))


def _railing_cover(surface: Surface, facing: Floats, *, spacing: float, share: float, rails: int) -> tuple[Floats, Mask]:
    place = np.abs((surface.along / np.float32(spacing)) % 1 - np.float32(0.5)) * 2
    blurred = np.clip(surface.footprint * np.float32(1.5 / spacing), 0, 1)
    cover = np.where(place < share, np.float32(1), np.float32(0)) * (1 - blurred) + np.float32(share) * blurred
    height = (surface.up / surface.half[2] + 1) / 2
    for rail in range(rails):
        level = 0.96 - rail * 0.85 / max(1, rails - 1)
        thickness = np.maximum(np.float32(0.05), surface.footprint * np.float32(0.7)) / surface.half[2]
        cover = np.maximum(cover, np.clip(1.2 - np.abs(height - np.float32(level)) * 2 / thickness, 0, 1))
    return cover, np.ones(len(cover), bool)


def _wheel_cover(surface: Surface, facing: Floats) -> tuple[Floats, Mask]:
    radius = np.sqrt(surface.along**2 + surface.across**2) / surface.half[0]
    spokes = np.float32(0.12) + np.float32(0.3) * (np.cos(np.arctan2(surface.across, surface.along) * 12) > 0.8)
    return np.where(radius > 0.8, np.float32(1), np.where(radius < 0.12, np.float32(1), spokes)), radius >= 0


def _twig_cover(surface: Surface, facing: Floats, *, grain: float, offset: float, density: float) -> tuple[Floats, Mask]:
    lateral = (surface.y - surface.x * np.float32(0.2)) / surface.half[0]
    height = surface.z / surface.half[2]
    scale, shift = np.float32(grain), np.float32(offset)
    fine = np.abs(fractal(lateral * scale + shift, height * scale * np.float32(0.6) + shift) - np.float32(0.5))
    coarse = np.abs(fractal(lateral * scale * np.float32(0.4), height * scale * np.float32(0.25) + shift) - 0.5)
    rim = np.clip(facing * np.float32(2.4) - np.float32(1.4) * fine, 0, 1)
    lines = np.clip(1 - fine * 7, 0, 1) * np.float32(0.7) + np.clip(1 - coarse * 14, 0, 1)
    cover = np.clip((lines + np.float32(0.25)) * np.float32(density), 0, np.float32(0.95)) * rim
    return cover, rim > 0.2
