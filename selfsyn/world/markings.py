"""What is painted on the road: lane lines, centre line, edge lines, stop lines, crossings, arrows, hatching."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfsyn.world.dice import Dice
from selfsyn.world.look import MaterialLook
from selfsyn.world.noise import Floats, Mask
from selfsyn.world.street import Street

_WHITE = (0.78, 0.78, 0.76)


@dataclass(frozen=True, eq=False)
class MarkingPlan:
    """Which markings one street has. Lengths in metres; a place of 1e6 is out of sight."""

    paint: float  # share of the paint that is left
    centre: Floats  # colour of the centre line (3,)
    width: float  # half the width of a line
    period: float
    dash: float  # share of the period that is painted
    double_centre: bool
    edges: bool
    stop_lines: bool
    crossing: float  # place of a painted crossing down the road
    arrows: float  # place of the first arrow in each lane; they repeat every 24 m
    hatching: float  # place of a hatched stretch
    offset: float


def drawn_markings(look: MaterialLook, *, dice: Dice) -> MarkingPlan:
    far = 1e6
    return MarkingPlan(
        paint=look.markings * dice.uniform((0.45, 1.0)) if dice.chance(0.9) else 0.0,
        centre=np.array(dice.pick(look.centre_line), np.float32),
        width=dice.uniform((0.05, 0.09)),
        period=dice.uniform((4, 11)),
        dash=dice.uniform((0.3, 0.65)),
        double_centre=dice.chance(0.4),
        edges=dice.chance(0.5),
        stop_lines=dice.chance(0.6),
        crossing=dice.uniform((7, 32)) if dice.chance(look.crossings) else far,
        arrows=dice.uniform((5, 20)) if dice.chance(0.35) else far,
        hatching=dice.uniform((6, 30)) if dice.chance(0.08) else far,
        offset=dice.uniform((0, 10)),
    )


def marked(
    s: Floats, d: Floats, beyond: Floats, footprint: Floats, *, street: Street, plan: MarkingPlan
) -> tuple[Floats, Floats]:
    """Colour of the paint (N, 3) and how much of each point it covers (N,), thinner than a pixel fading out."""
    on_road = beyond < 0
    cover = np.zeros(len(s), bool)
    cover |= _lane_lines(s, d, street=street, plan=plan)
    centre = _centre_line(s, d, street=street, plan=plan)
    if plan.edges:
        edges = np.minimum(np.abs(d - street.first_line), np.abs(d - street.first_line - street.lanes * street.lane_width))
        cover |= edges < plan.width
    lines = (cover | centre) & on_road
    areas = _areas(s, d, street=street, plan=plan) & on_road
    across = footprint * np.float32(0.12)  # on the flat a pixel is far longer than it is wide
    thin = np.clip(np.float32(plan.width * 2) / np.maximum(across, np.float32(1e-3)), 0, 1)
    amount = np.where(areas, np.float32(1), np.where(lines, thin, np.float32(0))) * np.float32(plan.paint)
    colour = np.where((centre & ~areas)[:, None], plan.centre, np.array(_WHITE, np.float32))
    return colour, amount


def _lane_lines(s: Floats, d: Floats, *, street: Street, plan: MarkingPlan) -> Mask:
    lane = (d - np.float32(street.first_line)) / np.float32(street.lane_width)
    nearest = np.round(lane)
    inner = (nearest > 0) & (nearest < street.lanes) & (nearest != street.oncoming)
    dashed = ((s + np.float32(plan.offset)) / np.float32(plan.period)) % 1 < plan.dash
    return inner & dashed & (np.abs(lane - nearest) * np.float32(street.lane_width) < plan.width)


def _centre_line(s: Floats, d: Floats, *, street: Street, plan: MarkingPlan) -> Mask:
    if street.lanes < 2:
        return np.zeros(len(s), bool)
    off = np.abs(d - np.float32(street.centre_line))
    if plan.double_centre:
        return np.abs(off - np.float32(0.14)) < plan.width
    dashed = ((s + np.float32(plan.offset)) / np.float32(plan.period)) % 1 < plan.dash
    return (off < plan.width) & (dashed | (street.lanes > 3))


def _areas(s: Floats, d: Floats, *, street: Street, plan: MarkingPlan) -> Mask:
    """Markings wide enough to be seen from afar: crossings, stop lines, arrows, hatching."""
    found = (np.abs(s - np.float32(plan.crossing)) < 1.4) & (d % 1 < 0.5)
    if plan.stop_lines:
        for start, _, _, _ in street.side_streets:
            found |= np.abs(s - np.float32(start - 1.5)) < 0.2
    found |= _arrows(s, d, street=street, plan=plan)
    hatched = (s > plan.hatching) & (s < plan.hatching + 10)
    if hatched.any():
        found |= hatched & ((((s + d) / 2) % 1 < 0.1) | (((s - d) / 2) % 1 < 0.1))
    return found


def _arrows(s: Floats, d: Floats, *, street: Street, plan: MarkingPlan) -> Mask:
    lane = ((d - np.float32(street.first_line)) / np.float32(street.lane_width)) % 1
    off = np.abs(lane - np.float32(0.5)) * np.float32(street.lane_width)
    place = (s - np.float32(plan.arrows)) % 24
    head = (place > 2.2) & (place < 3.6) & (off < np.float32(0.32) * (np.float32(3.6) - place))
    forward = (d < street.centre_line) & (d > street.first_line)
    return ((place < 2.3) & (off < 0.09) | head) & forward & (s > plan.arrows)
