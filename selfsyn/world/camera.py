"""A pinhole camera in a car: its rays, and which part of the screen a bounding box can touch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from selfsyn.world.dice import Dice
from selfsyn.world.look import Look
from selfsyn.world.noise import Floats
from selfsyn.world.solids import Triple, turned

_NEAR_PLANE = 0.2  # metres before the eye at which boxes are clipped


@dataclass(frozen=True, eq=False)
class Camera:
    """World axes: x forward along the road, y to the left, z up; the eye is at (0, 0, eye) metres."""

    width: int
    height: int
    focal: float  # pixels
    eye: float
    frame: Floats  # (3, 3): columns are forward, left, up

    @property
    def origin(self) -> Triple:
        zero = np.float32(0)
        return zero, zero, np.float32(self.eye)  # type: ignore[return-value]


class Patch(NamedTuple):
    """A rectangle of the screen and the depth before which nothing in it can be."""

    rows: slice
    columns: slice
    nearest: float


def mounted(look: Look, *, dice: Dice, width: int, height: int, curvature: float) -> Camera:
    """A camera behind the windscreen, looking down the road, shaken a little."""
    lens = look.lens
    view = math.radians(dice.uniform(lens.field_of_view))
    yaw = dice.normal(lens.yaw_sigma) + curvature * 6
    frame = turned(yaw, pitch=dice.normal(lens.pitch_sigma) + lens.pitch, roll=dice.normal(0.008))
    return Camera(width, height, width / 2 / math.tan(view / 2), dice.uniform(lens.eye_height), frame)


def rays(camera: Camera) -> Triple:
    """Direction of the ray through each pixel centre, (H, W) for x, y and z; the forward part has length 1."""
    right = (np.arange(camera.width, dtype=np.float32) + np.float32(0.5 - camera.width / 2)) / np.float32(camera.focal)
    down = (np.arange(camera.height, dtype=np.float32) + np.float32(0.5 - camera.height / 2)) / np.float32(camera.focal)
    down = down[:, None]
    x, y, z = (camera.frame[i, 0] - right * camera.frame[i, 1] - down * camera.frame[i, 2] for i in range(3))
    return x, y, z


def patches(camera: Camera, *, corners_M83: Floats) -> list[Patch | None]:
    """For each bounding box the screen rectangle around it; None where it is behind or beside the picture."""
    offset = corners_M83 - np.array([0, 0, camera.eye], np.float32)
    seen = (offset[..., :, None] * camera.frame).sum(-2)  # (M, 8, 3): depth, left, up
    depth = seen[..., 0]
    ahead = np.maximum(depth, np.float32(_NEAR_PLANE))
    column = camera.width / 2 - seen[..., 1] / ahead * camera.focal
    row = camera.height / 2 - seen[..., 2] / ahead * camera.focal
    bounds = np.stack([column.min(1), column.max(1), row.min(1), row.max(1)], -1)
    nearest, farthest = depth.min(1), depth.max(1)
    for index in np.flatnonzero((nearest < _NEAR_PLANE) & (farthest > _NEAR_PLANE)):
        bounds[index] = _clipped_bounds(camera, seen[index])
    return [_patch(camera, bounds[i], nearest=float(nearest[i])) if farthest[i] > 0.4 else None for i in range(len(bounds))]


def _clipped_bounds(camera: Camera, seen_83: Floats) -> Floats:
    """Bounds of a box that reaches behind the eye: project only what lies before the near plane."""
    depth = seen_83[:, 0]
    behind, ahead = seen_83[depth < _NEAR_PLANE], seen_83[depth >= _NEAR_PLANE]
    part = (_NEAR_PLANE - behind[:, None, :1]) / (ahead[None, :, :1] - behind[:, None, :1])
    cut = behind[:, None] + (ahead[None] - behind[:, None]) * part
    points = np.concatenate([ahead, cut.reshape(-1, 3)])
    column = camera.width / 2 - points[:, 1] / points[:, 0] * camera.focal
    row = camera.height / 2 - points[:, 2] / points[:, 0] * camera.focal
    return np.array([column.min(), column.max(), row.min(), row.max()], np.float32)


def _patch(camera: Camera, bounds: Floats, *, nearest: float) -> Patch | None:
    left, right, top, bottom = (float(b) for b in np.clip(bounds, -1e5, 1e5))
    columns = slice(max(0, int(left) - 1), min(camera.width, int(right) + 2))
    rows = slice(max(0, int(top) - 1), min(camera.height, int(bottom) + 2))
    if columns.start >= columns.stop or rows.start >= rows.stop:
        return None
    return Patch(rows, columns, max(nearest, _NEAR_PLANE))
