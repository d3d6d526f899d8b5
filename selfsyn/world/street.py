"""The plan of one street - lanes, kerbs, pavements, side streets, zones - and the stage that things are put on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsyn.world.dice import Dice
from selfsyn.world.look import Look, StreetLook
from selfsyn.world.noise import Floats
from selfsyn.world.solids import Solid, turned
from selfsyn.world.veils import Veil

LEFT, RIGHT = 1, -1  # a side of the street is the sign of y there
FAR_END = 140.0  # metres down the road at which the street ends


class SideStreet(NamedTuple):
    """An opening in the row of houses, from `start` to `end` metres down the road."""

    start: float
    end: float
    left: bool
    right: bool


class Zone(NamedTuple):
    """A stretch of one side and what lines it: row, house, wall or park."""

    side: int
    start: float
    end: float
    kind: str


class Pose(NamedTuple):
    """A place on the ground and a heading in radians; local axes are forward, left, up."""

    x: float
    y: float
    yaw: float = 0.0

    @property
    def frame(self) -> Floats:
        return turned(self.yaw)

    def point(self, forward: float, left: float, up: float) -> tuple[float, float, float]:
        """A point given in local axes, in world coordinates."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return self.x + c * forward - s * left, self.y + s * forward + c * left, up

    def moved(self, forward: float, left: float = 0.0) -> Pose:
        """The same heading, some metres on."""
        x, y, _ = self.point(forward, left, 0)
        return Pose(x, y, self.yaw)


@dataclass(frozen=True, eq=False)
class Street:
    """All lengths in metres. A place is (s, d): s along the road, d to the left of the car's own path."""

    curvature: float
    left_kerb: float  # d of the left edge of the road, positive
    right_kerb: float  # negative
    lanes: int
    lane_width: float
    first_line: float  # d of the right edge of the rightmost lane
    parking: tuple[bool, bool]  # room for parked cars between lanes and kerb, left and right
    pavement: tuple[float, float]  # width, left and right
    verge: tuple[float, float]  # grass between kerb and pavement, left and right; mostly 0
    tram_lane: int | None
    side_streets: tuple[SideStreet, ...]
    zones: tuple[Zone, ...]

    def pose(self, s: float, d: float, *, yaw: float = 0.0) -> Pose:
        """The place (s, d) in the world; yaw in radians against the direction of the road there."""
        return Pose(s, d + 0.5 * self.curvature * s * s, yaw + math.atan(self.curvature * s))

    def kerb(self, side: int) -> float:
        """d of the kerb on a side."""
        return self.left_kerb if side == LEFT else self.right_kerb

    def edge(self, side: int) -> float:
        """Width from the kerb to the back of the pavement."""
        index = 0 if side == LEFT else 1
        return self.pavement[index] + self.verge[index]

    def lane_centre(self, lane: int) -> float:
        """d of the middle of a lane; lane 0 is the rightmost."""
        return self.first_line + (lane + 0.5) * self.lane_width

    @property
    def centre_line(self) -> float:
        """d of the line between the two directions."""
        return self.first_line + self.oncoming * self.lane_width

    @property
    def oncoming(self) -> int:
        """The first lane whose traffic comes towards us (they drive on the right)."""
        return (self.lanes + 1) // 2

    def opens(self, s: float, *, side: int, margin: float = 0.0) -> bool:
        """Is there a side street at s on that side?"""
        return any(a - margin < s < b + margin and (left if side == LEFT else right) for a, b, left, right in self.side_streets)


def planned(look: StreetLook, *, dice: Dice) -> Street:
    """Draw the plan of a street; our own car is in one of the lanes that go forward."""
    lanes = dice.weighted(look.lanes)
    width = dice.uniform(look.lane_width)
    own = dice.whole((0, max(0, (lanes + 1) // 2 - 1)))
    place = own + 0.5 + dice.normal(0.06)
    parking = dice.chance(look.parked), dice.chance(look.parked)
    sides = tuple(_side_streets(look, dice))
    return Street(
        curvature=dice.normal(look.curvature) if dice.chance(0.6) else 0.0,
        left_kerb=(lanes - place) * width + _shoulder(dice, parking[0]),
        right_kerb=-place * width - _shoulder(dice, parking[1]),
        lanes=lanes,
        lane_width=width,
        first_line=-place * width,
        parking=parking,
        pavement=(dice.uniform(look.pavement), dice.uniform(look.pavement)),
        verge=(_verge(look, dice), _verge(look, dice)),
        tram_lane=(lanes // 2 if lanes > 1 and dice.chance(0.8) else lanes - 1) if dice.chance(look.trams) else None,
        side_streets=sides,
        zones=(*_zones(look, dice, sides, LEFT), *_zones(look, dice, sides, RIGHT)),
    )


def _shoulder(dice: Dice, parking: bool) -> float:
    """Width between the outer lane and the kerb."""
    return dice.uniform((1.9, 2.4)) if parking else dice.uniform((0.2, 1.0))


def _verge(look: StreetLook, dice: Dice) -> float:
    return dice.uniform((0.8, 2.2)) if dice.chance(look.verge) else 0.0


def _side_streets(look: StreetLook, dice: Dice) -> list[SideStreet]:
    found: list[SideStreet] = []
    start = dice.uniform((8, 55))
    while start < 105 and dice.chance(look.side_streets):
        end = start + dice.uniform((6, 12))
        left = dice.chance(0.6)
        found.append(SideStreet(start, end, left, not left or dice.chance(0.5)))
        start = end + dice.uniform((20, 60))
    return found


def _zones(look: StreetLook, dice: Dice, openings: Sequence[SideStreet], side: int) -> list[Zone]:
    found: list[Zone] = []
    start = -8.0
    while start < FAR_END:
        end = start + dice.uniform(look.zone_length)
        for opening in openings:
            if not (opening.left if side == LEFT else opening.right) or end < opening.start or start > opening.end:
                continue
            if start > opening.start - 4:
                start, end = opening.end + 0.5, max(end, opening.end + 6)
            else:
                end = opening.start - 0.5
        found.append(Zone(side, start, end, dice.weighted(look.zones)))
        start = end + 0.02
    return found


@dataclass(eq=False)
class Stage:
    """What has been put into the street so far."""

    look: Look
    dice: Dice
    street: Street
    solids: list[Solid] = field(default_factory=list)
    veils: list[Veil] = field(default_factory=list)
    contacts: list[tuple[Pose, float, float]] = field(default_factory=list)  # pose, half length, half width

    def add(self, *solids: Solid) -> None:
        """Put solids onto the stage."""
        self.solids.extend(solids)

    def contact_table(self) -> NDArray[np.float32]:
        """Where vehicles touch the road: rows of x, y, yaw, half length, half width; (K, 5)."""
        rows = [(pose.x, pose.y, pose.yaw, length, width) for pose, length, width in self.contacts]
        return np.array(rows, np.float32).reshape(-1, 5)
