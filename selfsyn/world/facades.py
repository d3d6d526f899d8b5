"""The fronts of buildings: bricks or plaster, a grid of windows or bands of glass, and shops at street level."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from selfsyn.world.dice import Dice
from selfsyn.world.look import MaterialLook
from selfsyn.world.noise import Floats, Mask, cell, fractal, speckle
from selfsyn.world.paints import put, tinted
from selfsyn.world.solids import Paint, Surface

SHOP_HEIGHT = 3.3  # metres


@dataclass(frozen=True, eq=False)
class Facade:
    """Lengths in metres; window sizes are shares of a bay and of a storey."""

    wall: Floats  # (3,)
    frame: Floats
    shop: Floats | None  # colour of the shop front
    top: float  # height of the building
    bay: float
    storey: float
    window: tuple[float, float]
    banded: bool
    bricks: bool
    dirt: float
    offset: float
    salt: int

    @property
    def paint(self) -> Paint:
        return partial(_facade, style=self)


def drawn_facade(look: MaterialLook, *, dice: Dice, top: float) -> Facade:
    """A facade in the look's materials for a building `top` metres high."""
    banded = dice.chance(look.glass_front)
    width, height = dice.uniform(look.window_width), dice.uniform(look.window_height)
    shop = dice.hue(hue=(0, 1), saturation=(0.2, 0.9), value=(0.08, 0.6)) if dice.chance(look.shops) else None
    return Facade(
        wall=np.array(dice.shade(look.walls), np.float32),
        frame=np.full(3, dice.uniform((0.08, 0.8)), np.float32),
        shop=None if shop is None else np.array(shop, np.float32),
        top=top,
        bay=dice.uniform(look.bay),
        storey=dice.uniform(look.storey),
        window=(0.92, min(0.85, height + 0.15)) if banded else (width, height),
        banded=banded,
        bricks=not banded and dice.chance(look.bricks),
        dirt=dice.uniform(look.dirt),
        offset=dice.uniform((0, 12)),
        salt=dice.whole((0, 999)),
    )


def _facade(surface: Surface, *, style: Facade) -> tuple[Floats, Floats]:
    sideways = np.abs(surface.local_normal_N3[:, 0]) > 0.7
    place = np.where(sideways, surface.across, surface.along)
    upright = np.abs(surface.local_normal_N3[:, 2]) < 0.5
    colours = _wall(surface, place, style)
    gloss = np.zeros(len(place), np.float32)
    _draw_windows(colours, gloss, surface, place=place, upright=upright, style=style)
    if style.shop is not None:
        _draw_shop(colours, gloss, surface, place=place, upright=upright, style=style)
    return colours, gloss


def _wall(surface: Surface, place: Floats, style: Facade) -> Floats:
    offset = np.float32(style.offset)
    stain = fractal(place * np.float32(0.25) + offset, surface.z * np.float32(0.2)) - np.float32(0.5)
    grain = speckle(place * np.float32(1.3) + offset, surface.z) - np.float32(0.5)
    shade = 1 + np.float32(style.dirt) * (stain + np.float32(0.3) * grain)
    if style.bricks:
        visible = np.clip(np.float32(0.04) / np.maximum(surface.footprint, np.float32(1e-3)), 0, 1)
        row = np.floor(surface.z * np.float32(11))
        brick = place * np.float32(4.2) + (row % 2) / 2
        mortar = ((surface.z * np.float32(11)) % 1 < 0.16) | (brick % 1 < 0.07)
        shade += visible * (np.float32(0.35) * cell(np.floor(brick), row) - np.float32(0.17) + np.float32(0.2) * mortar)
    return tinted(style.wall, shade)


def _draw_windows(colours: Floats, gloss: Floats, surface: Surface, *, place: Floats, upright: Mask, style: Facade) -> None:
    first = SHOP_HEIGHT if style.shop is not None else 0.4
    bay = place / np.float32(style.bay) + np.float32(style.offset)
    storey = (surface.z - np.float32(first)) / np.float32(style.storey)
    column, row = np.floor(bay), np.floor(storey)
    beside, above = np.abs(bay - column - np.float32(0.5)), np.abs(storey - row - np.float32(0.5))
    wide, tall = style.window[0] / 2, style.window[1] / 2
    whole = (storey > 0) & ((row + 1) * np.float32(style.storey) + np.float32(first) < style.top) & upright
    opening = (beside < wide) & (above < tall) & whole
    sash = opening & ((beside > wide - 0.03) | (above > tall - 0.025) | ((beside < 0.012) & (not style.banded)))
    pane = cell(column, row, salt=style.salt)
    put(colours, opening, 0.0)
    glass = np.float32(0.03) + np.float32(0.10) * pane + np.float32(0.3) * (pane > 0.85)
    colours[opening] = glass[opening, None] * np.array([0.9, 1.0, 1.1], np.float32)
    put(colours, sash, style.frame)
    gloss[opening & ~sash] = 0.55 if style.banded else 0.35
    sill = whole & (beside < wide + 0.04) & (storey - row < 0.5 - tall) & (storey - row > 0.44 - tall)
    put(colours, sill & (not style.banded), style.frame * np.float32(0.9))


def _draw_shop(colours: Floats, gloss: Floats, surface: Surface, *, place: Floats, upright: Mask, style: Facade) -> None:
    assert style.shop is not None
    ground_floor = (surface.z < SHOP_HEIGHT) & upright
    pane = (place / np.float32(style.bay * 1.5) + np.float32(style.offset)) % 1
    board = ground_floor & (surface.z > SHOP_HEIGHT - 0.75)
    glass = ground_floor & ~board & (surface.z > 0.5) & (pane > 0.07)
    put(colours, ground_floor, style.shop * np.float32(0.7))
    put(colours, board, style.shop)
    letters = board & (np.abs(surface.z - np.float32(SHOP_HEIGHT - 0.38)) < 0.2)
    letters &= speckle(place * np.float32(0.5) + np.float32(style.offset), surface.z * np.float32(0.7)) > 0.7
    put(colours, letters, np.clip(1 - style.shop, 0.1, 0.9))
    goods = speckle(place * np.float32(0.3), surface.z * np.float32(0.4) + np.float32(style.offset)) ** 3
    inside = np.float32(0.03) + np.float32(0.4) * goods[:, None] * np.array([1, 0.85, 0.6], np.float32)
    colours[glass] = inside[glass]
    gloss[glass] = 0.3
