"""Plain materials: what things without much drawing on them look like. A paint maps a Surface to albedo and gloss."""

from __future__ import annotations

from functools import partial

import numpy as np

from selfsyn.world.dice import Colour
from selfsyn.world.noise import Floats, Mask, cell, foliage, fractal, speckle
from selfsyn.world.solids import Paint, Surface


def plain(colour: Colour, *, gloss: float = 0.0) -> Paint:
    """One colour, slightly uneven."""
    return partial(_plain, colour=np.array(colour, np.float32), gloss=gloss)


def leaves(colour: Colour, *, grain: float) -> Paint:
    """Foliage: light and dark clumps and single leaves."""
    return partial(_leaves, colour=np.array(colour, np.float32), grain=grain)


def planks(colour: Colour, *, width: float) -> Paint:
    """Upright boards `width` metres wide with dark gaps."""
    return partial(_planks, colour=np.array(colour, np.float32), width=width)


def tiles(colour: Colour) -> Paint:
    """A roof in rows of tiles."""
    return partial(_tiles, colour=np.array(colour, np.float32))


def masonry(colour: Colour, *, course: float, dirt: float) -> Paint:
    """A free-standing wall in courses of stones `course` metres high, stained."""
    return partial(_masonry, colour=np.array(colour, np.float32), course=course, dirt=dirt)


def sign_face(colour: Colour, *, inner: Colour, shape: str, offset: float) -> Paint:
    """A traffic sign: rim and field, and a dark pictogram. shape: disc, triangle or board; local x looks at the driver."""
    pair = np.array([colour, inner], np.float32)
    return partial(_sign_face, colours=pair, shape=shape, offset=offset)


def lamps(lit: int) -> Paint:
    """A traffic light's head: three lenses in a black box, number `lit` from below shining."""
    return partial(_lamps, lit=lit)


def tinted(colour: Floats, shade_N: Floats) -> Floats:
    """One colour (3,) at N brightnesses, (N, 3)."""
    return colour[None, :] * shade_N[:, None]


def put(colours_N3: Floats, where_N: Mask, colour: Colour | Floats | float) -> None:
    """Paint over the points where the mask holds, in place."""
    colours_N3[where_N] = np.asarray(colour, np.float32)


def none_N(surface: Surface) -> Floats:
    return np.zeros(len(surface.x), np.float32)


def _plain(surface: Surface, *, colour: Floats, gloss: float) -> tuple[Floats, Floats]:
    uneven = speckle(surface.x * 3 + surface.y * np.float32(2.6), surface.z * 3 - surface.y)
    return tinted(colour, np.float32(0.85) + np.float32(0.3) * uneven), np.full(len(uneven), np.float32(gloss))


def _leaves(surface: Surface, *, colour: Floats, grain: float) -> tuple[Floats, Floats]:
    scale, half = np.float32(grain), np.float32(grain / 2)
    clump = foliage(surface.x * half, surface.y * half, surface.z * half)
    leaf = foliage(surface.y * scale * 3, surface.z * scale * 3, surface.x * scale * 3)
    below = np.clip(np.float32(0.75) + surface.up / surface.half[2] * np.float32(0.35), 0.4, 1.1)
    return tinted(colour, (np.float32(0.15) + clump * np.float32(0.7) + leaf * np.float32(0.85)) * below), none_N(surface)


def _planks(surface: Surface, *, colour: Floats, width: float) -> tuple[Floats, Floats]:
    board = surface.along / np.float32(width)
    index = np.floor(board)
    visible = np.clip(np.float32(0.15) / np.maximum(surface.footprint, np.float32(1e-3)), 0, 1)
    gap = ((board - index) < 0.12) * visible
    shade = np.float32(0.8) + np.float32(0.3) * cell(index, np.zeros_like(index)) - np.float32(0.45) * gap
    return tinted(colour, shade), none_N(surface)


def _tiles(surface: Surface, *, colour: Floats) -> tuple[Floats, Floats]:
    row = surface.z * 4
    visible = np.clip(np.float32(0.2) / np.maximum(surface.footprint, np.float32(1e-3)), 0, 1)
    shade = np.float32(0.85) - np.float32(0.3) * ((row % 1) < 0.25) * visible
    return tinted(colour, shade + np.float32(0.4) * (fractal(surface.along, row) - np.float32(0.5))), none_N(surface)


def _masonry(surface: Surface, *, colour: Floats, course: float, dirt: float) -> tuple[Floats, Floats]:
    row = surface.z / np.float32(course)
    level = np.floor(row)
    stone = (surface.along + surface.across) / np.float32(course * 2.2) + (level % 2) / 2
    visible = np.clip(np.float32(course / 2) / np.maximum(surface.footprint, np.float32(1e-3)), 0, 1)
    joint = ((row - level) < 0.1) | ((stone % 1) < 0.06)
    shade = 1 + visible * (np.float32(0.5) * cell(np.floor(stone), level) - np.float32(0.25) - np.float32(0.3) * joint)
    stain = fractal(surface.along * np.float32(0.4), surface.z * np.float32(0.5)) - np.float32(0.5)
    foot = np.clip(surface.z * np.float32(1.2), np.float32(0.6), 1)
    return tinted(colour, (shade + np.float32(dirt) * stain) * foot), none_N(surface)


def _sign_face(surface: Surface, *, colours: Floats, shape: str, offset: float) -> tuple[Floats, Floats]:
    across, up = surface.across / surface.half[1], surface.up / surface.half[2]
    if shape == "disc":
        across, up = surface.along / surface.half[0], surface.across / surface.half[0]
        edge = np.sqrt(across * across + up * up)
        rim = edge > 0.72
    elif shape == "triangle":
        edge = np.maximum(-up * np.float32(1.5), np.abs(across) * np.float32(1.75) + up) + np.float32(0.25)
        rim = edge > 0.75
    else:
        rim = (np.abs(across) > 0.88) | (np.abs(up) > 0.86)
    drawing = (speckle(across * np.float32(0.35) + offset, up * np.float32(0.35)) > 0.62) & ~rim
    drawing &= np.maximum(np.abs(across), np.abs(up)) < (0.45 if shape != "board" else 0.75)
    colour = np.where(rim[:, None], colours[0], colours[1])
    ink = np.where(colours[1].mean() > 0.4, np.float32(0.04), np.float32(0.8))
    return np.where(drawing[:, None], ink, colour).astype(np.float32), np.full(len(across), np.float32(0.08))


_LENSES = np.array([[0.05, 2.2, 0.7], [2.4, 1.2, 0.05], [2.6, 0.1, 0.05]], np.float32)


def _lamps(surface: Surface, *, lit: int) -> tuple[Floats, Floats]:
    place = (surface.up / surface.half[2] + 1) * np.float32(1.5)
    lens = np.floor(place)
    inside = (surface.across / surface.half[1] / np.float32(0.75)) ** 2 + ((place - lens) * 2 - 1) ** 2 < 0.75
    inside &= surface.local_normal_N3[:, 0] < -0.7
    colours = np.full((len(place), 3), np.float32(0.02))
    put(colours, inside, (0.06, 0.06, 0.05))
    put(colours, inside & (lens == lit), _LENSES[lit])
    return colours, none_N(surface)
