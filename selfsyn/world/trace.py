"""Which solid each pixel sees, and which points the sun reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfsyn.world.camera import Camera, patches
from selfsyn.world.noise import Floats, Mask
from selfsyn.world.solids import FAR, Solid, Triple, corners, distance, stands

SKY = -1
GROUND = -2
_HORIZON = 400.0  # metres to which the ground is drawn

_MAP_SIDE = 256  # texels of the shadow map's side
_MAP_METRES = 64.0  # length of street it covers
_MAP_CENTRE = np.array([24, 0, 1], np.float32)
_SUN_DISTANCE = 120.0


def trace(solids: Sequence[Solid], *, camera: Camera, directions: Triple) -> tuple[Floats, NDArray[np.int32]]:
    """-> depth (H, W) along the viewing axis and the index of the solid seen (H, W), or SKY or GROUND.

    Solids go front to back, each only over its screen rectangle, so that what is hidden is skipped unseen.
    """
    depth, seen = _ground(camera, directions)
    places = patches(camera, corners_M83=corners(solids))
    visible = [(place.nearest, i, place) for i, place in enumerate(places) if place is not None]
    for nearest, index, place in sorted(visible, key=lambda entry: entry[:2]):
        window = place.rows, place.columns
        if depth[window].max() < nearest:
            continue
        local: Triple = (directions[0][window], directions[1][window], directions[2][window])
        closer, hit = visible_hits(solids[index], camera=camera, directions=local, depth=depth[window])
        depth[window][closer] = hit[closer]
        seen[window][closer] = index
    return depth, seen


def visible_hits(solid: Solid, *, camera: Camera, directions: Triple, depth: Floats) -> tuple[Mask, Floats]:
    """Where the solid lies before what has been drawn so far, and its depth there."""
    x, y, z = directions
    hit = distance(solid, origin=camera.origin, direction=(x, y, z))
    closer = hit < depth
    if solid.crown is not None and closer.any():
        rays = x[closer], y[closer], z[closer]
        along = hit[closer]
        points = rays[0] * along, rays[1] * along, rays[2] * along + np.float32(camera.eye)
        closer[closer] = stands(solid.crown, solid, points=points, direction=rays)
    return closer, hit


def _ground(camera: Camera, directions: Triple) -> tuple[Floats, NDArray[np.int32]]:
    down = directions[2]
    reach = np.where(down < -1e-4, np.float32(-camera.eye) / np.minimum(down, np.float32(-1e-4)), FAR)
    near = reach < _HORIZON
    return np.where(near, reach, FAR), np.where(near, np.int32(GROUND), np.int32(SKY))


@dataclass(frozen=True, eq=False)
class ShadowMap:
    """Depth of the street as the sun sees it: (S, S), with the two axes it is drawn in."""

    depth: Floats
    sun: Floats  # (3,) unit vector towards the sun
    right: Floats
    upward: Floats

    def lit(self, points: Triple, *, normal_N3: Floats) -> Floats:
        """Share of sunlight that reaches each point, (N,) in [0, 1]: the mean of four neighbouring texels."""
        lifted = [points[i] + normal_N3[:, i] * np.float32(0.12) - _MAP_CENTRE[i] for i in range(3)]
        column, row = self._texels(lifted)
        below = np.float32(_SUN_DISTANCE - 0.18) - sum(lifted[i] * self.sun[i] for i in range(3))
        total = np.zeros_like(column)
        for shift in ((-0.6, -0.3), (0.3, -0.6), (0.6, 0.3), (-0.3, 0.6)):
            total += self._reached(column + np.float32(shift[0]), row + np.float32(shift[1]), below)
        return total * np.float32(0.25)

    def _texels(self, offset: Sequence[Floats]) -> tuple[Floats, Floats]:
        scale = np.float32(_MAP_SIDE / _MAP_METRES)
        column = (sum(offset[i] * self.right[i] for i in range(3)) + np.float32(_MAP_METRES / 2)) * scale
        row = (sum(offset[i] * self.upward[i] for i in range(3)) + np.float32(_MAP_METRES / 2)) * scale
        return column, row

    def _reached(self, column: Floats, row: Floats, below: Floats) -> Floats:
        i, j = column.astype(np.int32), row.astype(np.int32)
        inside = (column >= 0) & (column < _MAP_SIDE) & (row >= 0) & (row < _MAP_SIDE)
        i, j = np.clip(i, 0, _MAP_SIDE - 1), np.clip(j, 0, _MAP_SIDE - 1)
        return np.where(inside & (self.depth[j, i] < below), np.float32(0), np.float32(1))


def shadow_map(solids: Sequence[Solid], *, sun: Floats) -> ShadowMap:
    """Trace the solids from the sun over a square of the street; what is smaller than a few texels is left out."""
    right = np.array([-sun[1], sun[0], 0], np.float32)
    right /= np.sqrt((right**2).sum())
    upward = np.array(
        [sun[i - 2] * right[i - 1] - sun[i - 1] * right[i - 2] for i in range(3)],  # the cross product sun x right
        np.float32,
    )
    step = (np.arange(_MAP_SIDE, dtype=np.float32) + np.float32(0.5)) * np.float32(_MAP_METRES / _MAP_SIDE)
    side = step - np.float32(_MAP_METRES / 2)
    start = _MAP_CENTRE + sun * np.float32(_SUN_DISTANCE)
    origin = [start[i] + side[None, :] * right[i] + side[:, None] * upward[i] for i in range(3)]
    empty = ShadowMap(np.full((_MAP_SIDE, _MAP_SIDE), FAR, np.float32), sun, right, upward)
    _draw_from_sun(empty, solids=solids, origin=origin)
    return empty


def _draw_from_sun(target: ShadowMap, *, solids: Sequence[Solid], origin: list[Floats]) -> None:
    boxes = corners(solids) - _MAP_CENTRE
    column, row = target._texels([boxes[..., i] for i in range(3)])
    left, right = np.maximum(column.min(1), 0).astype(int), np.minimum(column.max(1) + 2, _MAP_SIDE).astype(int)
    top, bottom = np.maximum(row.min(1), 0).astype(int), np.minimum(row.max(1) + 2, _MAP_SIDE).astype(int)
    down = -target.sun
    direction = down[0], down[1], down[2]
    for i in np.flatnonzero((right > left) & (bottom > top) & ((right - left) * (bottom - top) >= 12)).tolist():
        window = slice(top[i], bottom[i]), slice(left[i], right[i])
        local = origin[0][window], origin[1][window], origin[2][window]
        depth = distance(solids[i], origin=local, direction=direction)
        np.minimum(target.depth[window], depth, out=target.depth[window])
