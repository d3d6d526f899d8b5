"""The paintwork of vehicles: lamps, glass, plates and sills drawn on their boxes, and wheels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from selfsyn.world.dice import Colour
from selfsyn.world.noise import Floats, Mask, fractal, speckle
from selfsyn.world.paints import none_N, put, tinted
from selfsyn.world.solids import Paint, Surface

REAR_LAMP: Colour = (0.45, 0.01, 0.01)
FRONT_LAMP: Colour = (0.85, 0.85, 0.8)
RUBBER: Colour = (0.02, 0.02, 0.02)


@dataclass(frozen=True)
class Box:
    """A vehicle made of one big box. Heights in metres above the ground; windows run between `low` and `high`."""

    colour: Colour
    low: float
    high: float
    window: float  # metres from post to post
    glass_from: float = -99.0  # side windows only ahead of this place along the vehicle
    glass_rear: bool = True
    stripe: Colour | None = None  # a band of another colour below the windows
    lettering: float = 0.0  # place in the noise of an advertisement; 0 for none

    @property
    def paint(self) -> Paint:
        return partial(_box_body, style=self)


def hull(colour: Colour) -> Paint:
    """The lower body of a car, with lamps, grille, plates, sills and doors."""
    return partial(_hull, colour=np.array(colour, np.float32))


def cabin(colour: Colour, *, glass: float) -> Paint:
    """The upper body of a car: roof and posts around windows of the given brightness."""
    return partial(_cabin, colour=np.array(colour, np.float32), glass=glass)


def tyre(surface: Surface) -> tuple[Floats, Floats]:
    """A wheel with a spoked rim; the solid is a cylinder."""
    radius = np.sqrt(surface.along**2 + surface.across**2) / surface.half[0]
    rim = (radius < 0.64) & (np.abs(surface.up) > surface.half[2] * 0.98)
    spokes = np.float32(0.12) + np.float32(0.3) * (np.sin(np.arctan2(surface.across, surface.along) * 5) > 0)
    shade = np.where(rim, spokes, np.float32(0.02))
    return np.repeat(shade[:, None], 3, 1), none_N(surface)


def _hull(surface: Surface, *, colour: Floats) -> tuple[Floats, Floats]:
    normal = surface.local_normal_N3
    back, front, side = normal[:, 0] < -0.8, normal[:, 0] > 0.8, np.abs(normal[:, 1]) > 0.8
    across, z = np.abs(surface.across), surface.z
    colours = np.repeat(colour[None], len(z), 0)
    lamp = (z > 0.56) & (z < 0.82) & (across > surface.half[1] * 0.62)
    put(colours, back & lamp, REAR_LAMP)
    put(colours, front & lamp, FRONT_LAMP)
    put(colours, front & (across < surface.half[1] * 0.5) & (z > 0.52) & (z < 0.74), 0.03)
    put(colours, (back | front) & (across < 0.27) & (np.abs(z - 0.47) < 0.07), 0.75)
    put(colours, z < 0.34, 0.03)
    seam = side & ((np.abs(surface.along - 0.1) < 0.015) | (np.abs(surface.along + 0.9) < 0.015))
    colours[seam] *= 0.4
    return colours, np.float32(0.12) + np.float32(0.1) * (normal[:, 2] > 0.5)


def _cabin(surface: Surface, *, colour: Floats, glass: float) -> tuple[Floats, Floats]:
    normal = surface.local_normal_N3
    height = surface.up / surface.half[2]
    roof, side = normal[:, 2] > 0.8, np.abs(normal[:, 1]) > 0.7
    length = surface.half[0] * 2
    post = side & ((np.abs(surface.along - 0.02 * length) < 0.05) | (np.abs(surface.along + 0.25 * length) < 0.06))
    rim = ~side & (np.abs(surface.across) > surface.half[1] * 0.92 - 0.25 * np.maximum(height, 0) * surface.half[2])
    pane = ~roof & (height > 0.08) & (height < 0.88) & ~post & ~rim
    colours = np.repeat(colour[None], len(height), 0)
    inside = np.float32(glass) * (np.float32(0.6) + np.float32(0.8) * fractal(surface.along + surface.across, surface.up))
    colours[pane] = inside[pane, None]
    return colours, np.where(pane, np.float32(0.45), np.float32(0.18))


def _box_body(surface: Surface, *, style: Box) -> tuple[Floats, Floats]:
    normal = surface.local_normal_N3
    side, front, back = np.abs(normal[:, 1]) > 0.7, normal[:, 0] > 0.7, normal[:, 0] < -0.7
    across, z = np.abs(surface.across) / surface.half[1], surface.z
    dust = fractal(surface.along * np.float32(0.4) + surface.across, z * np.float32(0.5))
    colours = tinted(np.array(style.colour, np.float32), np.float32(0.88) + np.float32(0.24) * dust)
    if style.stripe is not None:
        put(colours, (side | back) & (z < style.low - 0.1) & (z > style.low - 0.55), style.stripe)
    if style.lettering:
        ink = speckle(surface.along * np.float32(0.15) + style.lettering, z * np.float32(0.2)) > 0.75
        put(colours, ink & side & (z > style.low) & (surface.along < style.glass_from), np.clip(1 - colours[:1], 0.05, 0.9)[0])
    pane = _panes(surface, style, side=side, ends=front | (back if style.glass_rear else np.zeros_like(back)))
    lamp = (z > 0.6) & (z < 1.05) & (across > 0.72)
    put(colours, back & lamp, REAR_LAMP)
    put(colours, front & lamp, FRONT_LAMP)
    put(colours, (back | front) & (np.abs(surface.across) < 0.27) & (np.abs(z - 0.6) < 0.08), 0.7)
    inside = np.float32(0.03) + np.float32(0.08) * fractal(surface.along, z)
    colours[pane] = inside[pane, None]
    put(colours, z < 0.42, 0.03)
    return colours, np.where(pane, np.float32(0.4), np.float32(0.08))


def _panes(surface: Surface, style: Box, *, side: Mask, ends: Mask) -> Mask:
    z = surface.z
    level = (z > style.low) & (z < style.high)
    beside = side & ((surface.along / np.float32(style.window)) % 1 > 0.08) & (surface.along > style.glass_from)
    screen = ends & (np.abs(surface.across) < surface.half[1] * 0.88)
    return (beside & level) | (screen & (z > style.low - 0.1) & (z < style.high + 0.15))
