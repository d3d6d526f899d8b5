"""Street furniture: lamp posts, traffic lights, traffic signs, bollards and masts."""

from __future__ import annotations

from selfsyn.labels import CLASSES
from selfsyn.world.dice import Colour
from selfsyn.world.paints import lamps, plain, sign_face
from selfsyn.world.solids import Skin, bar, box, cylinder, ellipsoid, polytope, turned
from selfsyn.world.street import Pose, Stage

POLE, LIGHT, SIGN = (CLASSES.index(name) for name in ("pole", "traffic light", "traffic sign"))

_RED, _BLUE, _WHITE, _YELLOW, _GREEN = (
    (0.60, 0.03, 0.04), (0.03, 0.12, 0.50), (0.75, 0.75, 0.75), (0.75, 0.55, 0.03), (0.02, 0.25, 0.10),
)  # fmt: skip
# rim and field of the signs of each shape
_SIGNS: dict[str, tuple[tuple[Colour, Colour], ...]] = {
    "disc": ((_RED, _WHITE), (_BLUE, _BLUE), (_RED, _RED), (_WHITE, _BLUE)),
    "triangle": ((_RED, _WHITE), (_RED, _YELLOW)),
    "board": ((_WHITE, _BLUE), (_WHITE, _GREEN), (_BLUE, _WHITE), (_YELLOW, _YELLOW), (_WHITE, _YELLOW)),
}


def place_pole(stage: Stage, *, pose: Pose, side: int, kind: str) -> None:
    """A piece of furniture on the given side of the road: lamp, sign, light, bollard or mast."""
    metal = Skin(POLE, plain(stage.dice.shade(stage.look.material.pole_metal, spread=0.3)))
    {"lamp": _lamp, "sign": _sign_post, "light": _light_post, "bollard": _bollards, "mast": _mast}[kind](stage, pose, side, metal)


def _post(stage: Stage, pose: Pose, *, height: float, radius: float, metal: Skin) -> None:
    stage.add(cylinder(pose.point(0, 0, height / 2), radius=radius, length=height, skin=metal))


def _lamp(stage: Stage, pose: Pose, side: int, metal: Skin) -> None:
    dice = stage.dice
    height, radius = dice.uniform((4.5, 9.5)), dice.uniform((0.05, 0.1))
    _post(stage, pose, height=height, radius=radius, metal=metal)
    _post(stage, pose, height=1.2, radius=radius * 1.6, metal=metal)
    if dice.chance(0.75):
        reach = side * dice.uniform((0.9, 2.4))
        stage.add(bar(pose.point(0, 0, height), pose.point(0, -reach, height + 0.25), radius=0.05, skin=metal))
        stage.add(box(pose.point(0, -reach, height + 0.2), half=(0.15, 0.4, 0.08), skin=metal, frame=pose.frame))
    else:
        globe = Skin(POLE, plain((0.7, 0.7, 0.65)))
        stage.add(ellipsoid(pose.point(0, 0, height + 0.2), half=(0.22, 0.22, 0.3), skin=globe))
    if dice.chance(0.2):
        _sign(stage, pose, height=dice.uniform((2.2, 3.0)))


def _sign_post(stage: Stage, pose: Pose, side: int, metal: Skin) -> None:
    height = stage.dice.uniform((2.2, 3.4))
    _post(stage, pose, height=height, radius=0.04, metal=metal)
    _sign(stage, pose, height=height - 0.1)
    if stage.dice.chance(0.35):
        _sign(stage, pose, height=height - 0.9)


def _light_post(stage: Stage, pose: Pose, side: int, metal: Skin) -> None:
    """A traffic light at the kerb; every third one also hangs a second head over the road."""
    dice = stage.dice
    height = dice.uniform((2.8, 3.8))
    _post(stage, pose, height=height, radius=0.06, metal=metal)
    lit = dice.whole((0, 2))
    _light(stage, pose, left=dice.pick((-0.2, 0.2)), height=height - 0.35, lit=lit)
    if dice.chance(0.35):
        reach = side * dice.uniform((2.5, 4.5))
        stage.add(bar(pose.point(0, 0, height), pose.point(0, 0, 5.6), radius=0.07, skin=metal))
        stage.add(bar(pose.point(0, 0, 5.6), pose.point(0, -reach, 5.7), radius=0.06, skin=metal))
        _light(stage, pose, left=-reach, height=5.25, lit=lit)


def _bollards(stage: Stage, pose: Pose, side: int, metal: Skin) -> None:
    height = stage.dice.uniform((0.8, 1.1))
    for number in range(stage.dice.whole((1, 5))):
        _post(stage, pose.moved(1.6 * number), height=height, radius=0.07, metal=metal)


def _mast(stage: Stage, pose: Pose, side: int, metal: Skin) -> None:
    height = stage.dice.uniform((6.5, 9))
    _post(stage, pose, height=height, radius=0.13, metal=metal)
    stage.add(box(pose.point(0, 0, height - 0.5), half=(0.06, 0.9, 0.06), skin=metal, frame=pose.frame))


def _light(stage: Stage, pose: Pose, *, left: float, height: float, lit: int) -> None:
    frame = turned(pose.yaw + stage.dice.normal(0.25))
    stage.add(box(pose.point(-0.1, left, height), half=(0.12, 0.17, 0.48), skin=Skin(LIGHT, lamps(lit)), frame=frame))
    if stage.dice.chance(0.3):  # the backing board
        board = Skin(LIGHT, plain((0.03, 0.03, 0.03)))
        stage.add(box(pose.point(0.03, left, height), half=(0.01, 0.3, 0.62), skin=board, frame=frame))


def _sign(stage: Stage, pose: Pose, *, height: float) -> None:
    dice = stage.dice
    shape = dice.weighted({"disc": 0.4, "triangle": 0.2, "board": 0.4})
    rim, inner = dice.pick(_SIGNS[shape])
    size, yaw = dice.uniform((0.28, 0.45)), pose.yaw + dice.normal(0.3)
    skin = Skin(SIGN, sign_face(rim, inner=inner, shape=shape, offset=dice.uniform((0, 12))))
    centre = pose.point(-0.07, 0, height)
    if shape == "disc":
        stage.add(cylinder(centre, radius=size, length=0.04, skin=skin, frame=turned(yaw, pitch=1.5708)))
    elif shape == "triangle":
        planes = (
            (1, 0, 0, 0.02),
            (-1, 0, 0, 0.02),
            (0, 0, -1, size * 0.6),
            (0, 0.87, 0.5, size * 0.5),
            (0, -0.87, 0.5, size * 0.5),
        )
        half = (0.02, size * 1.1, size)
        stage.add(polytope(centre, half=half, planes=planes, skin=skin, frame=turned(yaw)))
    else:
        half = (0.02, size * dice.uniform((0.8, 2.0)), size * dice.uniform((0.7, 1.3)))
        stage.add(box(centre, half=half, skin=skin, frame=turned(yaw)))
