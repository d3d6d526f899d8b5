"""Cars, vans, trucks, buses and trams: boxes with bevelled planes, wheels, and a shadow where they stand."""

from __future__ import annotations

import math

from selfsyn.labels import CLASSES
from selfsyn.world.bodywork import RUBBER, Box, cabin, hull, tyre
from selfsyn.world.dice import Colour
from selfsyn.world.paints import plain
from selfsyn.world.solids import Skin, box, cylinder, ellipsoid, polytope, turned
from selfsyn.world.street import Pose, Stage

CAR, TRUCK, BUS, TRAIN = (CLASSES.index(name) for name in ("car", "truck", "bus", "train"))


def place_vehicle(stage: Stage, *, pose: Pose, kind: str) -> float:
    """Put a vehicle (car, van, truck or bus) at a pose; -> its length in metres."""
    return {"car": _car, "van": _van, "truck": _truck, "bus": _bus}[kind](stage, pose)


def place_tram(stage: Stage, *, pose: Pose) -> None:
    """A tram of two to four sections whose rear end is at the pose."""
    dice = stage.dice
    colour = dice.hue(hue=(0, 1), saturation=(0.0, 0.9), value=(0.25, 0.8))
    style = Box(
        colour, low=1.15, high=2.35, window=dice.uniform((1.2, 2.2)),
        stripe=dice.hue(hue=(0, 1), saturation=(0.3, 0.9), value=(0.1, 0.7)),
    )  # fmt: skip
    height, section = dice.uniform((3.3, 3.7)), dice.uniform((6.5, 9))
    bellows = Skin(TRAIN, plain((0.03, 0.03, 0.03)))
    for number in range(dice.whole((2, 4))):
        middle = pose.moved(number * (section + 0.5) + section / 2)
        _body(stage, middle, size=(section, 2.45, height), skin=Skin(TRAIN, style.paint), rake=(0.12, 0.12))
        joint = middle.point(section / 2 + 0.2, 0, height / 2)
        stage.add(box(joint, half=(0.35, 1.0, height / 2 - 0.15), skin=bellows, frame=pose.frame))
        stage.add(box(middle.point(0, 0, height + 0.12), half=(1.2, 0.7, 0.14), skin=bellows, frame=pose.frame))


def _car(stage: Stage, pose: Pose) -> float:
    dice = stage.dice
    length, width, height = dice.uniform((3.6, 4.8)), dice.uniform((1.65, 1.88)), dice.uniform((1.36, 1.75))
    colour = dice.shade(stage.look.material.cars)
    waist = dice.uniform((0.76, 0.95)) * height / 1.45
    _hull_and_cabin(stage, pose, size=(length, width, height), waist=waist, colour=colour)
    _wheels(
        stage, pose, label=CAR, axles=(-0.31 * length, 0.31 * length), half_width=width / 2, radius=dice.uniform((0.29, 0.35))
    )
    stage.contacts.append((pose, length / 2, width / 2))
    return length


def _hull_and_cabin(stage: Stage, pose: Pose, *, size: tuple[float, float, float], waist: float, colour: Colour) -> None:
    dice = stage.dice
    half_length, half_width, drop = size[0] / 2, size[1] / 2, dice.uniform((0.05, 0.18))
    bonnet = (drop, 0, half_length * 0.7, drop * half_length * 0.35 + half_length * 0.7 * (waist - 0.6))
    lower = ((0, 1, 0.06, half_width), (0, -1, 0.06, half_width), (0, 0, -1, 0.38), (1, 0, 0.12, half_length),
             (-1, 0, 0.1, half_length), (0, 0, 1, waist - 0.6), bonnet)  # fmt: skip
    stage.add(
        polytope(pose.point(0, 0, 0.6), half=(half_length + 0.05, half_width + 0.03, 0.6), planes=lower,
                 skin=Skin(CAR, hull(colour)), frame=pose.frame)
    )  # fmt: skip
    back = half_length * (dice.uniform((0.88, 1.0)) if dice.chance(0.5) else dice.uniform((0.6, 0.8)))
    front, rise = half_length * dice.uniform((0.3, 0.5)), size[2] - waist
    upper = ((0, 1, 0.28, half_width * 0.97), (0, -1, 0.28, half_width * 0.97), (0, 0, -1, 0.05), (0, 0, 1, rise),
             (1, 0, dice.uniform((0.4, 0.9)), front), (-1, 0, dice.uniform((0.1, 0.7)), back))  # fmt: skip
    skin = Skin(CAR, cabin(colour, glass=dice.uniform((0.02, 0.1))))
    stage.add(polytope(pose.point(0, 0, waist), half=(half_length, half_width, rise), planes=upper, skin=skin, frame=pose.frame))
    for side in (-1, 1):
        mirror = pose.point(front * 0.85, side * (half_width + 0.08), waist + 0.08)
        stage.add(ellipsoid(mirror, half=(0.1, 0.12, 0.09), skin=Skin(CAR, plain(colour)), frame=pose.frame))


def _van(stage: Stage, pose: Pose) -> float:
    dice = stage.dice
    size = dice.uniform((4.4, 5.8)), dice.uniform((1.85, 2.1)), dice.uniform((1.9, 2.5))
    style = Box(dice.shade(stage.look.material.cars), low=1.15, high=1.7, window=1.1, glass_from=size[0] * 0.12)
    _body(stage, pose, size=size, skin=Skin(CAR, style.paint), rake=(dice.uniform((0.2, 0.55)), 0.03))
    _wheels(stage, pose, label=CAR, axles=(-0.3 * size[0], 0.33 * size[0]), half_width=size[1] / 2, radius=0.34)
    return size[0]


def _truck(stage: Stage, pose: Pose) -> float:
    """A cab, and behind it a box body or a low bed."""
    dice = stage.dice
    length, height, cab = dice.uniform((6, 10)), dice.uniform((2.9, 3.8)), dice.uniform((1.8, 2.3))
    colour = dice.shade(stage.look.material.cars)
    front = Box(colour, low=1.55, high=2.3, window=1.6)
    cab_height = min(height, dice.uniform((2.5, 3.1)))
    _body(stage, pose.moved(length / 2 - cab / 2), size=(cab, 2.35, cab_height), skin=Skin(TRUCK, front.paint), rake=(0.12, 0.0))
    load = dice.hue(hue=(0, 1), saturation=(0, 0.7), value=(0.3, 0.8)) if dice.chance(0.7) else colour
    body = Box(load, low=0.9, high=0.91, window=3.0, glass_from=99, glass_rear=False, lettering=dice.uniform((1, 9)))
    top = height if dice.chance(0.8) else 1.5
    hold = length - cab - 0.15
    frame, middle = pose.frame, pose.point(-cab / 2 - 0.08, 0, (top + 0.85) / 2)
    stage.add(box(middle, half=(hold / 2, 1.22, (top - 0.85) / 2), skin=Skin(TRUCK, body.paint), frame=frame))
    stage.add(box(pose.point(-0.2, 0, 0.7), half=(length / 2 - 0.3, 0.5, 0.16), skin=Skin(TRUCK, plain(RUBBER)), frame=frame))
    axles = (-0.36 * length, -0.22 * length, 0.5 * length - cab * 0.55)
    _wheels(stage, pose, label=TRUCK, axles=axles, half_width=1.2, radius=0.47)
    stage.contacts.append((pose, length / 2, 1.15))
    return length


def _bus(stage: Stage, pose: Pose) -> float:
    dice = stage.dice
    double = dice.chance(0.15)
    size = dice.uniform((9, 12.5)), 2.5, 4.2 if double else dice.uniform((2.9, 3.2))
    stripe = dice.hue(hue=(0, 1), saturation=(0.3, 0.9), value=(0.1, 0.7)) if dice.chance(0.5) else None
    colour = dice.hue(hue=(0, 1), saturation=(0.2, 0.9), value=(0.2, 0.75))
    style = Box(colour, low=1.2, high=2.35, window=dice.uniform((1.1, 1.7)), stripe=stripe)
    _body(stage, pose, size=size, skin=Skin(BUS, style.paint), rake=(0.04, 0.02))
    board = Skin(BUS, plain((0.9, 0.6, 0.05)))
    stage.add(box(pose.point(size[0] / 2, 0, 2.68), half=(0.03, 0.7, 0.12), skin=board, frame=pose.frame))
    _wheels(stage, pose, label=BUS, axles=(-0.28 * size[0], 0.32 * size[0]), half_width=1.25, radius=0.47)
    return size[0]


def _body(stage: Stage, pose: Pose, *, size: tuple[float, float, float], skin: Skin, rake: tuple[float, float]) -> None:
    """One big box whose front and rear lean inwards by `rake` metres per metre."""
    length, width, height = size[0] / 2, size[1] / 2, size[2] / 2
    planes = ((0, 1, 0.05, width), (0, -1, 0.05, width), (0, 0, -1, height - 0.32), (0, 0, 1, height),
              (1, 0, rake[0], length), (-1, 0, rake[1], length))  # fmt: skip
    half = (length + max(rake) * height, width + 0.05 * height, height)
    stage.add(polytope(pose.point(0, 0, height), half=half, planes=planes, skin=skin, frame=pose.frame))
    stage.contacts.append((pose, length, width))


def _wheels(stage: Stage, pose: Pose, *, label: int, axles: tuple[float, ...], half_width: float, radius: float) -> None:
    frame = turned(pose.yaw, roll=math.pi / 2)
    for along in axles:
        for side in (-1, 1):
            hub = pose.point(along, side * (half_width - 0.1), radius)
            stage.add(cylinder(hub, radius=radius, length=0.25, skin=Skin(label, tyre), frame=frame))
