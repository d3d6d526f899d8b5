"""Fill a street, in the order a town grows: what lines it, its furniture, its traffic, its people, its horizon."""

from __future__ import annotations

import math

from selfsyn.world.buildings import place_block, place_building, place_fence, place_wall
from selfsyn.world.furniture import place_pole
from selfsyn.world.people import place_bicycle, place_motorcycle, place_person
from selfsyn.world.plants import place_hedge, place_tree
from selfsyn.world.street import FAR_END, LEFT, RIGHT, Pose, Stage, Zone
from selfsyn.world.vehicles import place_tram, place_vehicle


def populate(stage: Stage) -> None:
    """Put everything into the street that `stage.look` says belongs there."""
    for zone in stage.street.zones:
        {"row": _row, "house": _houses, "wall": _walled, "park": _park}[zone.kind](stage, zone)
    for side in (LEFT, RIGHT):
        _furniture(stage, side)
        _kerbside(stage, side)
    _traffic(stage)
    _cyclists(stage)
    _horizon(stage)


def _row(stage: Stage, zone: Zone) -> None:
    """Houses wall to wall."""
    dice, look = stage.dice, stage.look.street
    back = stage.street.edge(zone.side) + dice.uniform(look.setback)
    start = zone.start
    while start < zone.end:
        end = min(start + dice.uniform(look.plot), zone.end + 0.1)
        if end - start > 2:
            place_building(stage, side=zone.side, start=start, end=end, back=back + dice.pick((0, 0, dice.uniform((0, 1.2)))))
        start = end + dice.pick((0.01, 0.01, dice.uniform((0.01, 2.5))))


def _houses(stage: Stage, zone: Zone) -> None:
    """Houses in gardens behind a low wall, a fence or a hedge."""
    dice, back = stage.dice, stage.street.edge(zone.side) + 0.2
    border = {"wall": place_wall, "fence": place_fence, "hedge": place_hedge}[
        dice.weighted({"wall": 0.35, "fence": 0.35, "hedge": 0.3})
    ]
    border(stage, side=zone.side, start=zone.start, end=zone.end, back=back, height=dice.uniform((0.7, 1.6)))
    start = zone.start
    while start < zone.end - 5:
        end = min(start + dice.uniform((7, 13)), zone.end + 1)
        place_building(stage, side=zone.side, start=start, end=end - 1.5, back=back + dice.uniform((4, 9)))
        start = end
    _grove(stage, zone, number=dice.whole((0, 3)), nearest=1.5, farthest=4.5)


def _walled(stage: Stage, zone: Zone) -> None:
    """A wall with trees behind it."""
    dice, back = stage.dice, stage.street.edge(zone.side) + 0.2
    place_wall(stage, side=zone.side, start=zone.start, end=zone.end, back=back, height=dice.uniform((1.0, 3.5)))
    _grove(stage, zone, number=int((zone.end - zone.start) / 8), nearest=2, farthest=12)
    _backdrop(stage, zone)


def _park(stage: Stage, zone: Zone) -> None:
    """Grass and trees, fenced or open."""
    dice, back = stage.dice, stage.street.edge(zone.side) + 0.2
    if dice.chance(0.5):
        place_fence(stage, side=zone.side, start=zone.start, end=zone.end, back=back, height=dice.uniform((0.8, 1.8)))
    elif dice.chance(0.3):
        place_hedge(stage, side=zone.side, start=zone.start, end=zone.end, back=back + 0.6, height=dice.uniform((0.6, 1.8)))
    _grove(stage, zone, number=int((zone.end - zone.start) / dice.uniform((4, 10))), nearest=2, farthest=16)
    _backdrop(stage, zone)


def _grove(stage: Stage, zone: Zone, *, number: int, nearest: float, farthest: float) -> None:
    dice, street = stage.dice, stage.street
    for _ in range(number):
        offset = street.kerb(zone.side) + zone.side * (street.edge(zone.side) + dice.uniform((nearest, farthest)))
        pose = street.pose(dice.uniform((zone.start, zone.end)), offset)
        place_tree(stage, pose=pose, height=dice.uniform(stage.look.street.tree_height))


def _backdrop(stage: Stage, zone: Zone) -> None:
    if stage.dice.chance(0.6):
        back = stage.street.edge(zone.side) + stage.dice.uniform((18, 32))
        place_building(stage, side=zone.side, start=zone.start, end=zone.end, back=back)


def _furniture(stage: Stage, side: int) -> None:
    dice, street, look = stage.dice, stage.street, stage.look.street
    for _ in range(dice.whole(look.poles)):
        s = dice.uniform((5, 20)) if dice.chance(0.35) else dice.uniform((10, 70))
        if street.opens(s, side=side):
            continue
        inward = dice.uniform((0.3, 0.7)) if dice.chance(0.75) else max(0.4, street.edge(side) - 0.2)
        pose = street.pose(s, street.kerb(side) + side * inward)
        place_pole(stage, pose=pose, side=side, kind=dice.weighted(look.pole_kinds))
    if dice.chance(look.avenue):
        s, step = dice.uniform((6, 16)), dice.uniform((7, 15))
        while s < 100:
            if not street.opens(s, side=side):
                pose = street.pose(s, street.kerb(side) + side * 0.9)
                place_tree(stage, pose=pose, height=dice.uniform(look.tree_height))
            s += step
    if dice.chance(look.fences):
        start = dice.uniform((4, 25))
        end = start + dice.uniform((6, 22))
        place_fence(stage, side=side, start=start, end=end, back=0.25, height=dice.uniform((0.9, 1.2)))


def _kerbside(stage: Stage, side: int) -> None:
    """Parked cars, standing bicycles and people on the pavement."""
    dice, street, look = stage.dice, stage.street, stage.look.street
    if street.parking[0 if side == LEFT else 1]:
        _parked(stage, side)
    for _ in range(dice.count(look.walkers / 2)):
        s = dice.uniform((5, 15)) if dice.chance(0.35) else dice.uniform((10, 45))
        for _ in range(dice.whole((1, 3))):
            pose = street.pose(s + dice.normal(0.5), street.kerb(side) + side * dice.uniform((0.3, street.edge(side))))
            place_person(stage, pose=pose._replace(yaw=dice.uniform((0, 2 * math.pi))))
    for _ in range(dice.count(look.standing_cycles / 2)):
        s, yaw, offset = dice.uniform((5, 28)), dice.pick((0.0, 1.57)), dice.uniform((0.5, street.edge(side)))
        place = place_bicycle if dice.chance(0.75) else place_motorcycle
        for number in range(dice.whole((1, 3))):
            pose = street.pose(s + number * 0.9, street.kerb(side) + side * offset, yaw=yaw + dice.normal(0.15))
            place(stage, pose=pose, ridden=False)


def _parked(stage: Stage, side: int) -> None:
    dice, street = stage.dice, stage.street
    s, filled = dice.uniform((4, 18)), dice.uniform((0.3, 0.9))
    while s < 85:
        if dice.chance(filled) and not street.opens(s, side=side, margin=4):
            yaw = 0.0 if side == RIGHT or dice.chance(0.3) else math.pi
            pose = street.pose(s, street.kerb(side) - side * 1.05, yaw=yaw)
            kind = dice.weighted({"car": 0.85, "van": 0.12, "truck": 0.03})
            s += max(0.0, place_vehicle(stage, pose=pose, kind=kind) - 4.5)
        s += dice.uniform((5.4, 8))


def _traffic(stage: Stage) -> None:
    dice, street = stage.dice, stage.street
    for lane in range(street.lanes):
        centre = street.lane_centre(lane)
        own, towards_us = abs(centre) < street.lane_width * 0.6, lane >= street.oncoming
        s = dice.uniform((12, 30)) if own else dice.uniform((4, 26))
        if lane == street.tram_lane and not own:
            place_tram(stage, pose=street.pose(dice.uniform((7, 40)), centre))
            continue
        while s < 105:
            if dice.chance(stage.look.street.traffic):
                s += _drive(stage, pose=street.pose(s, centre + dice.normal(0.15), yaw=math.pi if towards_us else 0.0))
            s += dice.uniform((7, 24))
    for start, end, _, _ in street.side_streets:
        for _ in range(dice.whole((0, 2))):
            pose = Pose(dice.uniform((start + 1.5, end - 1.5)), dice.uniform((-28, 28)), dice.pick((1.57, -1.57)))
            _drive(stage, pose=pose)


def _drive(stage: Stage, *, pose: Pose) -> float:
    """One vehicle of the traffic with its rear third at the pose; -> the length it takes."""
    kind = stage.dice.weighted(stage.look.street.vehicles)
    if kind == "motorcycle":
        place_motorcycle(stage, pose=pose, ridden=True)
        return 2.5
    return place_vehicle(stage, pose=pose.moved(4.5) if kind in ("truck", "bus") else pose, kind=kind) + 1


def _cyclists(stage: Stage) -> None:
    dice, street, look = stage.dice, stage.street, stage.look.street
    for mean, place in ((look.riders, place_bicycle), (look.motorcyclists, place_motorcycle)):
        for _ in range(dice.count(mean)):
            s = dice.uniform((5, 14)) if dice.chance(0.45) else dice.uniform((10, 34))
            d = dice.uniform((street.right_kerb + 0.5, street.left_kerb - 0.5))
            yaw = dice.normal(0.2) + (math.pi if d > street.lane_width else 0.0) + (1.57 if dice.chance(0.12) else 0.0)
            place(stage, pose=street.pose(s, d, yaw=yaw), ridden=True)
    for _ in range(dice.count(0.4)):  # people crossing the road
        pose = street.pose(
            dice.uniform((8, 28)), dice.uniform((street.right_kerb, street.left_kerb)), yaw=dice.pick((1.57, -1.57))
        )
        place_person(stage, pose=pose)


def _horizon(stage: Stage) -> None:
    """Close the view at the end of the road and behind the first row."""
    dice = stage.dice
    y = -110.0
    while y < 110:
        length = dice.uniform((9, 26))
        _far_thing(stage, pose=Pose(FAR_END + dice.uniform((8, 40)), y + length / 2, 0.0), half=(6, length / 2))
        y += length
    for side in (LEFT, RIGHT):
        x, step = 0.0, dice.uniform((20, 34))
        while x < FAR_END:
            _far_thing(stage, pose=Pose(x, side * dice.uniform((45, 75)), 0.0), half=(dice.uniform((5, 12)), 6))
            x += step


def _far_thing(stage: Stage, *, pose: Pose, half: tuple[float, float]) -> None:
    dice, look = stage.dice, stage.look.street
    if dice.chance(0.6):
        height = dice.uniform(dice.weighted(look.storeys))
        place_block(stage, pose=pose, half_length=half[0], half_depth=half[1], height=height)
    else:
        place_tree(stage, pose=pose, height=dice.uniform((6, 14)))
