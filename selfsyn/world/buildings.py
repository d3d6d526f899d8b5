"""What lines a street: houses with their roofs, bays and awnings, garden walls, fences and railings."""

from __future__ import annotations

import math

from selfsyn.labels import CLASSES
from selfsyn.world.dice import Colour
from selfsyn.world.facades import SHOP_HEIGHT, Facade, drawn_facade
from selfsyn.world.paints import masonry, plain, planks, sign_face, tiles
from selfsyn.world.solids import Skin, box, polytope, turned
from selfsyn.world.street import Pose, Stage
from selfsyn.world.veils import railing

BUILDING, WALL, FENCE = (CLASSES.index(name) for name in ("building", "wall", "fence"))


def place_building(stage: Stage, *, side: int, start: float, end: float, back: float) -> None:
    """A house from `start` to `end` metres down the road whose front stands `back` metres behind the kerb."""
    dice, street = stage.dice, stage.street
    depth, height = dice.uniform((7, 14)), dice.uniform(dice.weighted(stage.look.street.storeys))
    middle = street.pose((start + end) / 2, street.kerb(side) + side * (back + depth / 2), yaw=dice.normal(0.008))
    style = drawn_facade(stage.look.material, dice=dice, top=height)
    half = (end - start) / 2, depth / 2, height / 2
    skin = Skin(BUILDING, style.paint)
    stage.add(box(middle.point(0, 0, height / 2), half=half, skin=skin, frame=middle.frame))
    _roof(stage, middle, size=(end - start, depth, height))
    if dice.chance(0.25) and end - start > 6:
        _bays(stage, middle, side=side, size=(end - start, depth, height), skin=skin)
    if style.shop is not None and dice.chance(0.45):
        _awning(stage, middle, side=side, size=(end - start, depth, height), style=style)


def place_block(stage: Stage, *, pose: Pose, half_length: float, half_depth: float, height: float) -> None:
    """A building of the background: a box with a facade."""
    style = drawn_facade(stage.look.material, dice=stage.dice, top=height)
    half = half_length, half_depth, height / 2
    stage.add(box(pose.point(0, 0, height / 2), half=half, skin=Skin(BUILDING, style.paint), frame=pose.frame))


def place_wall(stage: Stage, *, side: int, start: float, end: float, back: float, height: float) -> None:
    """A free-standing wall along the street."""
    dice, look = stage.dice, stage.look.material
    colour = dice.shade(look.walls)
    course = dice.pick((0.12, 0.3, 0.6, 3.0))
    skin = Skin(WALL, masonry(colour, course=course, dirt=dice.uniform(look.dirt)))
    pose, half = _along(stage, side=side, start=start, end=end, back=back)
    stage.add(box(pose.point(0, 0, height / 2), half=(half, 0.14, height / 2), skin=skin, frame=pose.frame))
    if dice.chance(0.5):
        coping = Skin(WALL, plain((colour[0] * 1.2, colour[1] * 1.2, colour[2] * 1.2)))
        stage.add(box(pose.point(0, 0, height), half=(half, 0.19, 0.06), skin=coping, frame=pose.frame))


def place_fence(stage: Stage, *, side: int, start: float, end: float, back: float, height: float) -> None:
    """A fence of boards, a railing of bars or of posts and rails."""
    dice = stage.dice
    colour = dice.shade(stage.look.material.fences, spread=0.3)
    pose, half = _along(stage, side=side, start=start, end=end, back=back)
    middle, extents = pose.point(0, 0, height / 2), (half, 0.03, height / 2)
    kind = dice.weighted({"boards": 0.3, "bars": 0.5, "posts": 0.2})
    if kind == "boards":
        skin = Skin(FENCE, planks(colour, width=dice.uniform((0.12, 0.3))))
        stage.add(box(middle, half=extents, skin=skin, frame=pose.frame))
        return
    panel = box(middle, half=extents, skin=Skin(FENCE, plain(colour)), frame=pose.frame)
    spacing, share = (
        (dice.uniform((0.12, 0.3)), dice.uniform((0.25, 0.5))) if kind == "bars" else (dice.uniform((1.2, 2.4)), 0.06)
    )
    stage.veils.append(railing(panel, spacing=spacing, share=share, rails=dice.whole((2, 3))))


def _along(stage: Stage, *, side: int, start: float, end: float, back: float) -> tuple[Pose, float]:
    """The middle of a stretch parallel to the kerb, and half its length."""
    street = stage.street
    offset = street.kerb(side) + side * back
    first, last = street.pose(start, offset), street.pose(end, offset)
    yaw = math.atan2(last.y - first.y, last.x - first.x)
    return Pose((first.x + last.x) / 2, (first.y + last.y) / 2, yaw), math.hypot(last.x - first.x, last.y - first.y) / 2


def _roof(stage: Stage, middle: Pose, *, size: tuple[float, float, float]) -> None:
    dice, look = stage.dice, stage.look.material
    length, depth, height = size
    skin = Skin(BUILDING, tiles(dice.shade(look.roofs, spread=0.3)))
    if height > 20 or not dice.chance(look.pitched_roof):
        ledge = Skin(BUILDING, plain(dice.shade(look.walls)))
        half = (length / 2 + 0.15, depth / 2 + 0.2, 0.25)
        stage.add(box(middle.point(0, 0, height + 0.1), half=half, skin=ledge, frame=middle.frame))
        return
    rise, reach = dice.uniform((1.4, 3.6)), depth / 2 + 0.3
    run = length / 2
    if dice.chance(0.7):  # the ridge runs along the street
        slopes = [(0.0, side * rise, reach, rise * reach) for side in (-1, 1)]
        planes = [(1, 0, 0, run), (-1, 0, 0, run), (0, 0, -1, 0), *slopes]
    else:  # a gable looks at it
        slopes = [(side * rise, 0.0, run, rise * run) for side in (-1, 1)]
        planes = [(0, 1, 0, depth / 2), (0, -1, 0, depth / 2), (0, 0, -1, 0), *slopes]
    half = (length / 2 + 0.3, reach, rise)
    stage.add(polytope(middle.point(0, 0, height), half=half, planes=planes, skin=skin, frame=middle.frame))
    for _ in range(dice.whole((0, 2))):
        stack = middle.point(dice.uniform((-length / 2, length / 2)) * 0.9, 0, height + rise * 0.8)
        stage.add(
            box(stack, half=(0.5, 0.35, rise * 0.6), skin=Skin(BUILDING, plain(dice.shade(look.walls))), frame=middle.frame)
        )


def _bays(stage: Stage, middle: Pose, *, side: int, size: tuple[float, float, float], skin: Skin) -> None:
    length, depth, height = size
    step = stage.dice.uniform((4, 7))
    for number in range(int((length - 3) / step)):
        place = middle.point(-length / 2 + 2 + number * step, -side * (depth / 2 + 0.25), height * 0.32)
        stage.add(box(place, half=(1.1, 0.6, height * 0.32), skin=skin, frame=middle.frame))


def _awning(stage: Stage, middle: Pose, *, side: int, size: tuple[float, float, float], style: Facade) -> None:
    dice = stage.dice
    assert style.shop is not None
    colour: Colour = tuple(float(c) for c in style.shop)  # type: ignore[assignment]
    place = middle.point(0, -side * (size[1] / 2 + 0.55), SHOP_HEIGHT - 0.6)
    frame = turned(middle.yaw, roll=side * 0.4)
    stage.add(box(place, half=(size[0] * 0.4, 0.75, 0.05), skin=Skin(BUILDING, plain(colour)), frame=frame))
    if dice.chance(0.5):  # a hanging shop sign belongs to the building, not to the traffic signs
        board = sign_face(
            dice.shade(stage.look.material.cars), inner=(0.7, 0.7, 0.65), shape="board", offset=dice.uniform((0, 9))
        )
        hang = middle.point(dice.uniform((-0.4, 0.4)) * size[0], -side * (size[1] / 2 + 0.5), dice.uniform((3, 4)))
        stage.add(box(hang, half=(0.05, 0.45, 0.4), skin=Skin(BUILDING, board), frame=middle.frame))
