"""Pedestrians and riders, and what they ride: bodies of ellipsoids, bicycles and motorcycles of bars and wheels."""

from __future__ import annotations

import math

import numpy as np

from selfsyn.labels import CLASSES
from selfsyn.world.bodywork import RUBBER, tyre
from selfsyn.world.dice import Colour
from selfsyn.world.paints import plain
from selfsyn.world.solids import Skin, bar, box, cylinder, ellipsoid, turned
from selfsyn.world.street import Pose, Stage
from selfsyn.world.veils import wheel

PERSON, RIDER, MOTORCYCLE, BICYCLE = (CLASSES.index(name) for name in ("person", "rider", "motorcycle", "bicycle"))
_SKIN: Colour = (0.45, 0.28, 0.2)


def place_person(stage: Stage, *, pose: Pose) -> None:
    """Someone standing or walking; one in twelve is a child."""
    dice = stage.dice
    scale = dice.uniform((1.5, 1.92)) / 1.75 * (0.65 if dice.chance(0.08) else 1)
    top, bottom = _clothes(stage)
    stride, frame = dice.uniform((0, 0.5)), pose.frame
    cloth, legs = Skin(PERSON, plain(top)), Skin(PERSON, plain(bottom))
    build = dice.uniform((0.9, 1.3))

    def limb(at: tuple[float, float, float], half: tuple[float, float, float], skin: Skin, lean: float = 0.0) -> None:
        place = pose.point(at[0] * scale, at[1] * scale, at[2] * scale)
        leaning = frame if not lean else turned(pose.yaw, pitch=lean)
        stage.add(ellipsoid(place, half=np.array(half) * scale, skin=skin, frame=leaning))

    limb((0, 0, 1.17), (0.14 * build, 0.22 * build, 0.36), cloth)
    if dice.chance(0.25):  # a coat or a skirt
        limb((0, 0, 0.8), (0.17 * build, 0.22 * build, 0.36), cloth)
    for side in (-1, 1):
        limb((side * stride * 0.35, side * 0.1, 0.45), (0.1, 0.095, 0.47), legs, -side * stride * 0.7)
        limb((-side * stride * 0.25, side * 0.26, 1.12), (0.06, 0.06, 0.33), cloth, side * stride)
    _head(stage, pose, label=PERSON, at=(0, 0, 1.62), scale=scale)
    if dice.chance(0.3):
        bag = pose.point(0.05, 0.33 * scale, 0.7 * scale)
        stage.add(box(bag, half=(0.14, 0.08, 0.2), skin=Skin(PERSON, plain(dice.shade(stage.look.material.cloth))), frame=frame))


def place_bicycle(stage: Stage, *, pose: Pose, ridden: bool) -> None:
    """A bicycle, with its rider or standing."""
    dice = stage.dice
    radius = dice.uniform((0.31, 0.36))
    metal = Skin(BICYCLE, plain(dice.hue(hue=(0, 1), saturation=(0.1, 0.9), value=(0.03, 0.5))))
    black = Skin(BICYCLE, plain(RUBBER))
    frame = turned(pose.yaw, roll=math.pi / 2)
    for along in (-0.52, 0.52):
        hub = pose.point(along, 0, radius)
        stage.veils.append(wheel(cylinder(hub, radius=radius, length=0.04, skin=black, frame=frame)))
    joints = {
        "seat": (-0.22, 0.88),
        "head": (0.35, 0.85),
        "crank": (-0.05, 0.32),
        "rear": (-0.52, radius),
        "fork": (0.52, radius),
    }
    tubes = (("seat", "crank"), ("head", "crank"), ("seat", "head"), ("rear", "crank"), ("seat", "rear"), ("head", "fork"))
    for first, last in tubes:
        ends = (pose.point(joints[name][0], 0, joints[name][1]) for name in (first, last))
        stage.add(bar(*ends, radius=0.03, skin=metal))
    stage.add(bar(pose.point(0.35, -0.27, 1.02), pose.point(0.35, 0.27, 1.02), radius=0.03, skin=black))
    stage.add(box(pose.point(-0.24, 0, 0.96), half=(0.13, 0.07, 0.04), skin=black, frame=pose.frame))
    if ridden:
        _rider(stage, pose.moved(-0.18), seat=1.0, lean=dice.uniform((0.2, 0.6)), helmet=dice.chance(0.4))


def place_motorcycle(stage: Stage, *, pose: Pose, ridden: bool) -> None:
    """A motorcycle or a scooter, with its rider or standing."""
    dice = stage.dice
    paint = Skin(MOTORCYCLE, plain(dice.shade(stage.look.material.cars), gloss=0.15))
    black = Skin(MOTORCYCLE, plain(RUBBER))
    frame, upright = pose.frame, turned(pose.yaw, roll=math.pi / 2)
    for along in (-0.68, 0.7):
        hub = pose.point(along, 0, 0.31)
        stage.add(cylinder(hub, radius=0.31, length=0.15, skin=Skin(MOTORCYCLE, tyre), frame=upright))
    stage.add(
        ellipsoid(pose.point(0.2, 0, 0.78), half=(0.36, 0.17, 0.2), skin=paint, frame=frame),
        box(pose.point(0.02, 0, 0.48), half=(0.38, 0.17, 0.22), skin=black, frame=frame),
        box(pose.point(-0.42, 0, 0.78), half=(0.38, 0.13, 0.07), skin=black, frame=frame),
        box(pose.point(-0.82, 0, 0.72), half=(0.1, 0.1, 0.07), skin=Skin(MOTORCYCLE, plain((0.45, 0.01, 0.01))), frame=frame),
        bar(pose.point(0.7, 0, 0.35), pose.point(0.48, 0, 1.05), radius=0.06, skin=black),
        bar(pose.point(0.42, -0.36, 1.05), pose.point(0.42, 0.36, 1.05), radius=0.03, skin=black),
        ellipsoid(pose.point(0.58, 0, 0.92), half=(0.12, 0.17, 0.2), skin=paint, frame=frame),
    )
    if ridden:
        _rider(stage, pose.moved(-0.32), seat=0.86, lean=dice.uniform((0.05, 0.4)), helmet=True)


def _rider(stage: Stage, pose: Pose, *, seat: float, lean: float, helmet: bool) -> None:
    """Someone sitting at the height `seat`, leaning forward by `lean` radians, hands to the handlebar."""
    top, bottom = _clothes(stage)
    cloth, legs = Skin(RIDER, plain(top)), Skin(RIDER, plain(bottom))
    reach, rise = math.sin(lean), math.cos(lean)
    trunk = pose.point(0.32 * reach, 0, seat + 0.3 * rise)
    stage.add(ellipsoid(trunk, half=(0.15, 0.22, 0.37), skin=cloth, frame=turned(pose.yaw, pitch=lean)))
    shoulder = 0.5 * reach, seat + 0.5 * rise
    for side in (-1, 1):
        hip, knee = pose.point(0, side * 0.1, seat), pose.point(0.4, side * 0.15, seat - 0.2 + 0.08 * side)
        stage.add(bar(hip, knee, radius=0.085, skin=legs))
        stage.add(bar(knee, pose.point(0.18, side * 0.14, seat - 0.62 + 0.12 * side), radius=0.065, skin=legs))
        arm = pose.point(shoulder[0], side * 0.2, shoulder[1])
        stage.add(bar(arm, pose.point(0.55, side * 0.24, seat + 0.12), radius=0.05, skin=cloth))
    _head(stage, pose, label=RIDER, at=(0.62 * reach + 0.04, 0, seat + 0.76 * rise), scale=1.0, helmet=helmet)


def _head(stage: Stage, pose: Pose, *, label: int, at: tuple[float, float, float], scale: float, helmet: bool = False) -> None:
    dice = stage.dice
    tone = dice.uniform((0.3, 1.2))
    face = Skin(label, plain((_SKIN[0] * tone, _SKIN[1] * tone, _SKIN[2] * tone)))
    hair = (
        dice.shade(stage.look.material.cars) if helmet else dice.hue(hue=(0.05, 0.12), saturation=(0.2, 0.8), value=(0.01, 0.2))
    )
    size = 1.25 if helmet else 1.0
    crown = Skin(label, plain(hair, gloss=0.1 * helmet))
    stage.add(
        ellipsoid(pose.point(*(c * scale for c in at)), half=np.array([0.1, 0.085, 0.125]) * scale, skin=face, frame=pose.frame),
        ellipsoid(
            pose.point((at[0] - 0.03) * scale, at[1], (at[2] + 0.04) * scale),
            half=np.array([0.105, 0.095, 0.105]) * scale * size,
            skin=crown,
            frame=pose.frame,
        ),
    )


def _clothes(stage: Stage) -> tuple[Colour, Colour]:
    cloth = stage.look.material.cloth
    red, green, blue = stage.dice.shade(cloth, spread=0.3)
    return stage.dice.shade(cloth, spread=0.3), (red * 0.8, green * 0.8, blue * 0.8)
