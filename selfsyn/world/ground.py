"""The ground: road with its markings, kerbs, pavements, grass - colour and exact label of every point of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsyn.labels import CLASSES
from selfsyn.world.dice import Dice
from selfsyn.world.look import Look
from selfsyn.world.markings import MarkingPlan, drawn_markings, marked
from selfsyn.world.noise import Floats, Mask, cell, fractal, speckle
from selfsyn.world.paints import put, tinted
from selfsyn.world.street import LEFT, RIGHT, Street

ROAD, PAVEMENT, TERRAIN = (CLASSES.index(name) for name in ("road", "sidewalk", "terrain"))


@dataclass(frozen=True, eq=False)
class GroundPlan:
    """Materials of one street's ground. Colours are linear RGB (3,)."""

    asphalt: Floats
    wear: float
    patches: float  # brightness of repaired patches; 1 for none
    cobbled: bool
    ruts: float  # how much darker the wheels have made their tracks
    paving: Floats
    slab: float
    kerb: Floats
    grass: Floats
    wet: float  # gloss of the road
    offset: float
    markings: MarkingPlan


class Ground(NamedTuple):
    colour_N3: Floats
    label: NDArray[np.uint8]
    gloss: Floats


class _Place(NamedTuple):
    """Where N points lie with respect to the street, in metres."""

    s: Floats
    d: Floats
    beyond: Floats  # distance outside the kerb; negative on the road
    footprint: Floats


def drawn_ground(look: Look, *, dice: Dice) -> GroundPlan:
    """The ground of one street in the look's materials; now and then wet."""
    material = look.material
    bright, paving = dice.uniform(material.asphalt), dice.uniform(material.paving)
    wet = dice.uniform((0.15, 0.45)) if dice.chance(look.light.wet) else 0.0
    return GroundPlan(
        asphalt=np.array(material.asphalt_tint, np.float32) * np.float32(bright * (1 - wet)),  # water darkens it
        wear=dice.uniform(material.wear),
        patches=dice.uniform((0.65, 1.3)) if dice.chance(material.patches) else 1.0,
        cobbled=dice.chance(material.cobbles),
        ruts=dice.uniform((-0.1, 0.22)),
        paving=np.array(material.paving_tint, np.float32) * np.float32(paving),
        slab=dice.uniform(material.slab),
        kerb=np.full(3, paving * dice.uniform((0.7, 1.4)), np.float32),
        grass=np.array(dice.hue(hue=material.grass_hue, saturation=(0.4, 0.75), value=(0.1, 0.3)), np.float32),
        wet=wet,
        offset=dice.uniform((0, 16)),
        markings=drawn_markings(material, dice=dice),
    )


def ground(x: Floats, y: Floats, *, street: Street, plan: GroundPlan, footprint: Floats) -> Ground:
    """Colour, train id and gloss of N ground points; `footprint` is the metres a pixel covers along the view."""
    place = _placed(x, y, street, footprint)
    opening = _opening(place, street)
    road = (place.beyond < 0) | opening
    width = np.where(place.d > 0, np.float32(street.edge(LEFT)), np.float32(street.edge(RIGHT)))
    verge = np.where(place.d > 0, np.float32(street.verge[0]), np.float32(street.verge[1]))
    paved = ~road & ((place.beyond < width) | _built_up(place, street))
    grass = ~road & (~paved | ((place.beyond > 0.2) & (place.beyond < verge)))
    label = np.where(grass, TERRAIN, np.where(road, ROAD, PAVEMENT)).astype(np.uint8)
    colour = np.empty((len(x), 3), np.float32)
    for mask, paint in ((road, _road), (~road & ~grass, _paving), (grass, _grass)):
        if mask.any():
            part = _Place(*(axis[mask] for axis in place))
            colour[mask] = paint(part, street, plan)
    return Ground(colour, label, np.where(road, np.float32(plan.wet), np.float32(plan.wet * 0.4)))


def contact_shade(x: Floats, y: Floats, *, contacts_K5: Floats) -> Floats:
    """How open the sky is near vehicles: 1 in the open, 0.2 under them; (N,). Contacts: see Stage.contact_table."""
    open_sky = np.ones(len(x), np.float32)
    for cx, cy, yaw, length, width in contacts_K5:
        if not -6 < cx < 70:
            continue
        near = np.flatnonzero(np.abs(x - cx) + np.abs(y - cy) < length + width + 3)
        if not len(near):
            continue
        dx, dy = x[near] - cx, y[near] - cy
        cosine, sine = np.cos(yaw), np.sin(yaw)
        along, across = np.abs(cosine * dx + sine * dy) - length, np.abs(cosine * dy - sine * dx) - width
        outside = np.maximum(np.maximum(along, across), np.float32(-0.4))
        shade = np.clip(np.float32(0.35) + np.float32(0.72) * (outside + np.float32(0.4)), 0.2, 1)
        open_sky[near] = np.minimum(open_sky[near], shade)
    return open_sky


def _placed(x: Floats, y: Floats, street: Street, footprint: Floats) -> _Place:
    d = y - np.float32(0.5 * street.curvature) * x * x
    beyond = np.where(d > 0, d - np.float32(street.left_kerb), np.float32(street.right_kerb) - d)
    return _Place(x, d, beyond, footprint)


def _opening(place: _Place, street: Street) -> Mask:
    found = np.zeros(len(place.s), bool)
    for start, end, left, right in street.side_streets:
        found |= (place.s > start) & (place.s < end) & (((place.d > 0) & left) | ((place.d <= 0) & right))
    return found


def _built_up(place: _Place, street: Street) -> Mask:
    """Before rows of houses, and at the corners of side streets, the paving reaches the fronts."""
    found = np.zeros(len(place.s), bool)
    for side, start, end, kind in street.zones:
        if kind == "row":
            found |= (place.s >= start - 0.5) & (place.s < end + 0.5) & ((place.d > 0) == (side == LEFT))
    for start, end, _, _ in street.side_streets:
        found |= (place.s > start - 2) & (place.s < end + 2)
    return found & (place.beyond < 30)


def _road(place: _Place, street: Street, plan: GroundPlan) -> Floats:
    offset = np.float32(plan.offset)
    large = fractal(place.s * np.float32(0.1) + offset, place.d * np.float32(0.3))
    grain = speckle(place.s * np.float32(1.7), place.d * np.float32(1.7) + offset)
    fine = np.clip(np.float32(0.25) / np.maximum(place.footprint, np.float32(1e-3)), np.float32(0.15), 1)
    texture = np.float32(0.6) * (large - np.float32(0.5)) + np.float32(0.5) * fine * (grain - np.float32(0.5))
    shade = 1 + np.float32(plan.wear) * texture
    lane = ((place.d - np.float32(street.first_line)) / np.float32(street.lane_width)) % 1
    track = np.exp(-(((np.abs(lane - np.float32(0.5)) - np.float32(0.25)) / np.float32(0.1)) ** 2))
    shade *= 1 - np.float32(plan.ruts) * track
    if plan.patches != 1.0:
        repaired = fractal(place.s * np.float32(0.13), place.d * np.float32(0.3) + offset) > 0.8
        shade = np.where(repaired, shade * np.float32(plan.patches), shade)
    if plan.cobbled:
        shade *= _cobbles(place)
    colour = tinted(plan.asphalt, shade)
    if street.tram_lane is not None:
        _draw_rails(colour, place, street)
    paint, cover = marked(place.s, place.d, place.beyond, place.footprint, street=street, plan=plan.markings)
    cover = cover * (np.float32(0.55) + np.float32(0.45) * (grain > 0.2))
    colour += (paint - colour) * cover[:, None]
    colour[np.abs(place.beyond + np.float32(0.15)) < 0.15] *= np.float32(0.8)  # the gutter
    return colour


def _cobbles(place: _Place) -> Floats:
    row = np.floor(place.s * 6)
    stone = place.d * 6 + (row % 2) * np.float32(0.5)
    fine = np.clip(np.float32(0.1) / np.maximum(place.footprint, np.float32(1e-3)), 0, 1)
    joint = ((place.s * 6) % 1 < 0.18) | (stone % 1 < 0.18)
    stones = np.float32(0.5) * cell(row, np.floor(stone)) - np.float32(0.2)
    return np.asarray(1 + fine * np.where(joint, stones - np.float32(0.4), stones), np.float32)


def _draw_rails(colour: Floats, place: _Place, street: Street) -> None:
    assert street.tram_lane is not None
    off = np.abs(np.abs(place.d - np.float32(street.lane_centre(street.tram_lane))) - np.float32(0.72))
    put(colour, off < np.float32(0.16), colour.mean(0) * np.float32(0.75))
    put(colour, off < np.maximum(np.float32(0.04), place.footprint * np.float32(0.02)), (0.2, 0.2, 0.21))


def _paving(place: _Place, street: Street, plan: GroundPlan) -> Floats:
    s, d = place.s / np.float32(plan.slab), place.d / np.float32(plan.slab)
    fine = np.clip(np.float32(plan.slab / 6) / np.maximum(place.footprint, np.float32(1e-3)), 0, 1)
    joint = (s % 1 < 0.07) | (d % 1 < 0.07)
    slab = cell(np.floor(s), np.floor(d)) - np.float32(0.5)
    large = fractal(place.s * np.float32(0.2) + np.float32(plan.offset), place.d * np.float32(0.4)) - np.float32(0.5)
    relief = np.where(joint, np.float32(0.25) * slab - np.float32(0.25), np.float32(0.25) * slab)
    shade = 1 + np.float32(0.5 * plan.wear) * large + fine * relief
    colour = tinted(plan.paving, np.asarray(shade, np.float32))
    stone = (place.beyond > 0) & (place.beyond < np.maximum(np.float32(0.2), place.footprint * np.float32(0.3)))
    kerbstone = cell(np.floor(place.s[stone]), np.zeros_like(place.s[stone]))
    colour[stone] = tinted(plan.kerb, np.float32(0.9) + np.float32(0.2) * kerbstone)
    return colour


def _grass(place: _Place, street: Street, plan: GroundPlan) -> Floats:
    tuft = speckle(place.s * np.float32(0.9), place.d * np.float32(0.9))
    large = fractal(place.s * np.float32(0.3), place.d * np.float32(0.3) + np.float32(plan.offset))
    colour = tinted(plan.grass, np.float32(0.5) + np.float32(0.5) * tuft + np.float32(0.5) * large)
    bare = large > 0.85
    colour[bare] = colour[bare] * np.float32(0.4) + np.array([0.2, 0.15, 0.09], np.float32) * np.float32(0.6)
    return colour
