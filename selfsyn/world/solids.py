"""The three solids everything is built from - polytopes, ellipsoids, cylinders - and where a ray meets them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsyn.world.noise import Floats, Mask, foliage

Vector = Sequence[float] | NDArray[np.floating]
Triple = tuple[Floats, Floats, Floats]

FAR = np.float32(1e9)
NEAREST = 0.3  # metres: what is closer to the eye is not seen


class Surface(NamedTuple):
    """N visible points of one solid. World and local coordinates in metres, each (N,) float32."""

    x: Floats
    y: Floats
    z: Floats
    along: Floats  # local coordinates: the solid's own first, second and third axis, zero at its centre
    across: Floats
    up: Floats
    local_normal_N3: Floats
    normal_N3: Floats
    footprint: Floats  # metres that one pixel covers at this distance: detail finer than this must fade out
    half: Floats  # (3,) the solid's half extents


Paint = Callable[[Surface], tuple[Floats, Floats]]  # -> linear RGB albedo (N, 3), gloss (N,) in [0, 1]


class Skin(NamedTuple):
    """What a solid shows: its class (train id) and its material."""

    label: int
    paint: Paint


class Crown(NamedTuple):
    """How leaves eat into an ellipsoid: only where the noise lets them stand is there something to hit."""

    grain: float  # noise cells per metre
    offset: float
    density: float  # share of the inner surface that is leaves
    ragged: float  # how far the rim is torn


@dataclass(frozen=True, slots=True, eq=False)
class Solid:
    shape: Literal["polytope", "ellipsoid", "cylinder"]
    centre: Floats  # (3,)
    frame: Floats  # (3, 3): columns are the local axes in world coordinates
    half: Floats  # (3,) half extents; for an ellipsoid and a cylinder (axis up) the radii and half length
    skin: Skin
    normals: Floats | None = None  # (F, 3) outward, in world coordinates; a point p is inside when normals . p <= offsets
    offsets: Floats | None = None  # (F,)
    crown: Crown | None = None


_BOX_NORMALS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
_CORNERS = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], np.float32)
LEVEL = np.eye(3, dtype=np.float32)


def turned(yaw: float = 0.0, *, pitch: float = 0.0, roll: float = 0.0) -> Floats:
    """A frame: roll about x, then pitch about y (positive leans the z axis towards +x), then yaw about z. Radians."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (math.cos, math.sin))
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ],
        np.float32,
    )


def box(centre: Vector, *, half: Vector, skin: Skin, frame: Floats = LEVEL) -> Solid:
    extents = np.asarray(half, np.float32)
    return _polytope(centre, half=extents, normals=_BOX_NORMALS, offsets=np.repeat(extents, 2), skin=skin, frame=frame)


def polytope(centre: Vector, *, half: Vector, planes: Sequence[Vector], skin: Skin, frame: Floats = LEVEL) -> Solid:
    """The points with a.x + b.y + c.z <= d for every plane (a, b, c, d), in local coordinates about `centre`.

    `half` must bound the shape: it is what culling uses.
    """
    table = np.asarray(planes, np.float32)
    length = np.sqrt((table[:, :3] ** 2).sum(1))
    normals, offsets = table[:, :3] / length[:, None], table[:, 3] / length
    return _polytope(centre, half=np.asarray(half, np.float32), normals=normals, offsets=offsets, skin=skin, frame=frame)


def ellipsoid(centre: Vector, *, half: Vector, skin: Skin, frame: Floats = LEVEL, crown: Crown | None = None) -> Solid:
    return Solid("ellipsoid", np.asarray(centre, np.float32), frame, np.asarray(half, np.float32), skin, crown=crown)


def cylinder(centre: Vector, *, radius: float, length: float, skin: Skin, frame: Floats = LEVEL) -> Solid:
    """A round bar of the given length along the local z axis."""
    half = np.array([radius, radius, length / 2], np.float32)
    return Solid("cylinder", np.asarray(centre, np.float32), frame, half, skin)


def bar(start: Vector, end: Vector, *, radius: float, skin: Skin) -> Solid:
    """A cylinder from one point to another."""
    first, last = np.asarray(start, np.float32), np.asarray(end, np.float32)
    dx, dy, dz = (float(d) for d in last - first)
    length = math.sqrt(dx * dx + dy * dy + dz * dz) + 1e-6
    frame = turned(math.atan2(dy, dx), pitch=math.acos(max(-1.0, min(1.0, dz / length))))
    return cylinder((first + last) / 2, radius=radius, length=length, skin=skin, frame=frame)


def corners(solids: Sequence[Solid]) -> Floats:
    """The bounding boxes' corners in world coordinates, (M, 8, 3)."""
    local = _CORNERS[None] * np.stack([s.half for s in solids])[:, None]
    frames = np.stack([s.frame for s in solids])[:, None]
    turned_corners = (frames * local[:, :, None, :]).sum(-1)
    return turned_corners + np.stack([s.centre for s in solids])[:, None]


def distance(solid: Solid, *, origin: Triple, direction: Triple) -> Floats:
    """Distance along each ray, in units of the direction's length; FAR where the ray misses.

    Components of origin and direction are scalars or arrays that broadcast to one (H, W) shape. Leaf crowns are
    not eaten yet: see `stands`.
    """
    if solid.shape == "polytope":
        return _polytope_distance(solid, origin, direction)
    start, step = _local_ray(solid, origin, direction)
    if solid.shape == "ellipsoid":
        return _ellipsoid_distance(start, step)
    return _cylinder_distance(start, step)


def stands(crown: Crown, solid: Solid, *, points: Triple, direction: Triple) -> Mask:
    """Which hits on a leaf crown survive: dense in the middle, ragged towards the rim."""
    facing = np.zeros_like(points[0])
    squared = np.zeros_like(points[0])
    for axis in range(3):
        column = solid.frame[:, axis] / solid.half[axis]
        place = sum((points[i] - solid.centre[i]) * column[i] for i in range(3))
        step = sum(direction[i] * column[i] for i in range(3))
        facing -= place * step
        squared += step * step
    facing /= np.sqrt(squared)
    x, y, z = (axis * np.float32(crown.grain) + np.float32(crown.offset) for axis in points)
    noise = foliage(x, y, z)
    return (noise < crown.density) & (facing > crown.ragged * noise)


def surface(solid: Solid, points: Triple, *, footprint: Floats) -> Surface:
    """Local coordinates and normals of points that lie on the solid."""
    offset = [points[i] - solid.centre[i] for i in range(3)]
    local = [sum(offset[i] * solid.frame[i, axis] for i in range(3)) for axis in range(3)]
    if solid.shape == "polytope":
        assert solid.normals is not None and solid.offsets is not None
        normal = solid.normals[_face(solid, points)]
        local_normal = _times(normal, solid.frame)
    else:
        local_normal = _round_normal(solid, local)
        normal = _times(local_normal, solid.frame.T)
    return Surface(*points, local[0], local[1], local[2], local_normal, normal, footprint, solid.half)


def _polytope(centre: Vector, *, half: Floats, normals: Floats, offsets: Floats, skin: Skin, frame: Floats) -> Solid:
    middle = np.asarray(centre, np.float32)
    world = (normals[:, None, :] * frame[None]).sum(-1)
    return Solid("polytope", middle, frame, half, skin, world, offsets + (world * middle).sum(-1))


def _polytope_distance(solid: Solid, origin: Triple, direction: Triple) -> Floats:
    assert solid.normals is not None and solid.offsets is not None
    a, b, c = (solid.normals[:, i, None, None] for i in range(3))
    approach = a * direction[0] + b * direction[1] + c * direction[2]
    gap = solid.offsets[:, None, None] - (a * origin[0] + b * origin[1] + c * origin[2])
    crossing = gap / approach
    entering = approach < 0
    enter = np.where(entering, crossing, -FAR).max(0)
    leave = np.where(entering, FAR, crossing).min(0)
    return np.where((enter < leave) & (enter > NEAREST), enter, FAR)


def _local_ray(solid: Solid, origin: Triple, direction: Triple) -> tuple[list[Floats], list[Floats]]:
    """The ray in coordinates where the solid is the unit sphere or the unit cylinder."""
    to_unit = solid.frame / solid.half
    offset = [origin[i] - solid.centre[i] for i in range(3)]
    start = [sum(offset[i] * to_unit[i, axis] for i in range(3)) for axis in range(3)]
    step = [sum(direction[i] * to_unit[i, axis] for i in range(3)) for axis in range(3)]
    return start, step


def _ellipsoid_distance(start: list[Floats], step: list[Floats]) -> Floats:
    a = step[0] * step[0] + step[1] * step[1] + step[2] * step[2]
    b = start[0] * step[0] + start[1] * step[1] + start[2] * step[2]
    c = start[0] * start[0] + start[1] * start[1] + start[2] * start[2] - 1
    root = b * b - a * c
    near = (-b - np.sqrt(np.maximum(root, 0))) / a
    return np.where((root > 0) & (near > NEAREST), near, FAR)


def _cylinder_distance(start: list[Floats], step: list[Floats]) -> Floats:
    a = step[0] * step[0] + step[1] * step[1] + np.float32(1e-9)
    b = start[0] * step[0] + start[1] * step[1]
    root = b * b - a * (start[0] * start[0] + start[1] * start[1] - 1)
    spread = np.sqrt(np.maximum(root, 0))
    rise = np.where(np.abs(step[2]) < 1e-6, np.float32(1e-6), step[2])
    bottom, top = (-1 - start[2]) / rise, (1 - start[2]) / rise
    enter = np.maximum((-b - spread) / a, np.minimum(bottom, top))
    leave = np.minimum((-b + spread) / a, np.maximum(bottom, top))
    return np.where((root > 0) & (enter < leave) & (enter > NEAREST), enter, FAR)


def _face(solid: Solid, points: Triple) -> NDArray[np.intp]:
    """The face a point lies on is the one whose plane it comes closest to passing."""
    assert solid.normals is not None and solid.offsets is not None
    a, b, c = (solid.normals[:, i, None] for i in range(3))
    return (a * points[0] + b * points[1] + c * points[2] - solid.offsets[:, None]).argmax(0)


def _round_normal(solid: Solid, local: list[Floats]) -> Floats:
    normal = np.stack([local[i] / solid.half[i] ** 2 for i in range(3)], -1)
    if solid.shape == "cylinder":
        cap = np.abs(local[2]) > solid.half[2] * 0.999
        normal[:, :2] *= ~cap[:, None]
        normal[:, 2] = np.where(cap, np.sign(local[2]), 0)
    return normal / np.maximum(np.sqrt((normal**2).sum(-1, keepdims=True)), np.float32(1e-6))


def _times(vectors_N3: Floats, matrix: Floats) -> Floats:
    """vectors @ matrix without BLAS, whose summation order may depend on the number of threads."""
    return sum(vectors_N3[:, i, None] * matrix[i] for i in range(3))  # type: ignore[return-value]
