"""Trees in leaf, bare trees, hedges and bushes."""

from __future__ import annotations

from selfsyn.labels import CLASSES
from selfsyn.world.dice import Colour
from selfsyn.world.paints import leaves, plain
from selfsyn.world.solids import Crown, Skin, bar, box, ellipsoid, turned
from selfsyn.world.street import Pose, Stage
from selfsyn.world.veils import twigs

VEGETATION = CLASSES.index("vegetation")


def place_tree(stage: Stage, *, pose: Pose, height: float) -> None:
    """A tree in leaf, or bare as often as the look says; trunk and branches count as vegetation."""
    dice, look = stage.dice, stage.look.material
    tone = dice.uniform((0.5, 2.0))
    bark = Skin(VEGETATION, plain((0.09 * tone, 0.075 * tone, 0.06 * tone)))
    radius = height * dice.uniform((0.014, 0.028)) + 0.04
    lean = dice.normal(0.03) * height
    stage.add(bar(pose.point(0, 0, 0), pose.point(lean, 0, height * 0.7), radius=radius, skin=bark))
    if dice.chance(look.bare_trees):
        _bare_crown(stage, pose, height=height, bark=bark, radius=radius)
    else:
        _leafy_crown(stage, pose, height=height)


def place_hedge(stage: Stage, *, side: int, start: float, end: float, back: float, height: float) -> None:
    """A clipped hedge, or a row of bushes, along the street."""
    dice, street = stage.dice, stage.street
    colour, grain = _leaf_colour(stage), dice.uniform(stage.look.material.leaf_grain)
    offset = street.kerb(side) + side * back
    if dice.chance(0.5):
        pose = street.pose((start + end) / 2, offset)
        skin = Skin(VEGETATION, leaves(colour, grain=grain))
        stage.add(box(pose.point(0, 0, height / 2), half=((end - start) / 2, 0.45, height / 2), skin=skin, frame=pose.frame))
        return
    number = max(2, min(9, int((end - start) / 1.8)))
    for i in range(number):
        pose = street.pose(start + (end - start) * (i + 0.5) / number, offset + dice.normal(0.2))
        half = (end - start) / number * dice.uniform((0.5, 0.9)), dice.uniform((0.5, 0.9)), height * dice.uniform((0.45, 0.7))
        _clump(stage, pose.point(0, 0, height * 0.45), half=half, colour=colour, ragged=0.3, density=1.1, grain=grain)


def _leafy_crown(stage: Stage, pose: Pose, *, height: float) -> None:
    dice = stage.dice
    spread, foot = height * dice.uniform((0.18, 0.34)), height * dice.uniform((0.22, 0.42))
    colour, ragged, density = _leaf_colour(stage), dice.uniform((0.3, 0.8)), dice.uniform((0.6, 0.95))
    grain, tall = dice.uniform(stage.look.material.leaf_grain), dice.uniform((0.7, 1.4))
    for _ in range(dice.whole((3, 6))):
        size = spread * dice.uniform((0.55, 0.95))
        level = foot + (height - foot) * dice.uniform((0.2, 0.75))
        centre = pose.point(dice.normal(spread * 0.42), dice.normal(spread * 0.42), level)
        _clump(stage, centre, half=(size, size, size * tall), colour=colour, ragged=ragged, density=density, grain=grain)


def _clump(
    stage: Stage,
    centre: tuple[float, float, float],
    *,
    half: tuple[float, float, float],
    colour: Colour,
    ragged: float,
    density: float,
    grain: float,
) -> None:
    dice = stage.dice
    tone = dice.uniform((0.75, 1.3))
    paint = leaves((colour[0] * tone, colour[1] * tone, colour[2] * tone), grain=grain)
    crown = Crown(grain=grain, offset=dice.uniform((0, 60)), density=density, ragged=ragged)
    frame = turned(dice.uniform((0, 3)))
    stage.add(ellipsoid(centre, half=half, skin=Skin(VEGETATION, paint), frame=frame, crown=crown))


def _bare_crown(stage: Stage, pose: Pose, *, height: float, bark: Skin, radius: float) -> None:
    dice = stage.dice
    spread, foot = height * dice.uniform((0.2, 0.36)), height * dice.uniform((0.25, 0.45))
    for _ in range(dice.whole((4, 8))):
        start = pose.point(0, 0, foot + height * dice.uniform((0, 0.25)))
        tip = pose.point(dice.normal(spread * 0.6), dice.normal(spread * 0.6), height * dice.uniform((0.7, 1.0)))
        stage.add(bar(start, tip, radius=radius * 0.4, skin=bark))
    grain, density = dice.uniform((4, 8)), dice.uniform((0.35, 0.75))
    for _ in range(dice.whole((1, 3))):
        level = foot + (height - foot) * dice.uniform((0.45, 0.65))
        half = (spread * dice.uniform((0.7, 1.0)),) * 2 + ((height - foot) * dice.uniform((0.42, 0.55)),)
        crown = ellipsoid(pose.point(dice.normal(0.3), dice.normal(0.3), level), half=half, skin=bark)
        stage.veils.append(twigs(crown, grain=grain, offset=dice.uniform((0, 15)), density=density))


def _leaf_colour(stage: Stage) -> Colour:
    look = stage.look.material
    return stage.dice.hue(hue=look.leaf_hue, saturation=look.leaf_saturation, value=look.leaf_value)
