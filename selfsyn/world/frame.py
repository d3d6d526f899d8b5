"""One frame of the street world, from a look and a number to an image and its exact labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfsyn.errors import InputError
from selfsyn.world.camera import mounted, rays
from selfsyn.world.dice import Dice
from selfsyn.world.ground import drawn_ground
from selfsyn.world.lens import add_bonnet, developed, shrunk
from selfsyn.world.light import drawn_light
from selfsyn.world.look import Look
from selfsyn.world.looks import LOOKS
from selfsyn.world.populate import populate
from selfsyn.world.shade import shaded
from selfsyn.world.street import Stage, planned

_OVERSAMPLING = 2  # rays per pixel and axis; colours are averaged, labels never
_LAYOUT, _LIGHT, _LENS = range(3)  # random streams of a frame


def render(look: str, *, seed: int, index: int, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw frame `index` of a look: -> image (H, W, 3) uint8 RGB and label (H, W) uint8 train ids, 255 to be ignored.

    size is (width, height) in pixels, at least 16 x 16. The same arguments give the same bytes in any process. Raises
    InputError for an unknown look, a negative seed or index, or a size that is too small.
    """
    chosen = _checked(look, seed=seed, index=index, size=size)
    layout, weather, sensor = (Dice(seed, look=chosen.number, index=index, stream=s) for s in (_LAYOUT, _LIGHT, _LENS))
    stage = Stage(chosen, layout, planned(chosen.street, dice=layout))
    populate(stage)
    plan = drawn_ground(chosen, dice=weather)
    width, height = size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING
    camera = mounted(chosen, dice=sensor, width=width, height=height, curvature=stage.street.curvature)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        light = drawn_light(chosen, dice=weather)
        colour, fine_label = shaded(stage, plan=plan, light=light, camera=camera, directions=rays(camera))
    label = np.ascontiguousarray(fine_label[_OVERSAMPLING // 2 :: _OVERSAMPLING, _OVERSAMPLING // 2 :: _OVERSAMPLING])
    picture = shrunk(np.minimum(colour, np.float32(4)), factor=_OVERSAMPLING)
    add_bonnet(picture, label, look=chosen, dice=sensor)
    return developed(picture, look=chosen.lens, dice=sensor), label


def _checked(look: str, *, seed: int, index: int, size: tuple[int, int]) -> Look:
    if look not in LOOKS:
        raise InputError(f"look {look!r} is not known; expected one of {', '.join(LOOKS)}")
    if seed < 0 or index < 0:
        raise InputError(f"seed {seed} and index {index}: expected numbers from 0 up")
    if min(size) < 16:
        raise InputError(f"size {size[0]}x{size[1]}: expected at least 16x16 pixels")
    return LOOKS[look]
