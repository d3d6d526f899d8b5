"""From what each pixel sees to its colour and label: materials, sun and shadow, reflections, haze, veils."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfsyn.labels import CLASSES, IGNORE
from selfsyn.world.camera import Camera, Patch, patches
from selfsyn.world.ground import GroundPlan, contact_shade, ground
from selfsyn.world.light import Light, hazed, sky
from selfsyn.world.noise import Floats, Mask
from selfsyn.world.solids import Triple, corners, surface
from selfsyn.world.street import Stage
from selfsyn.world.trace import GROUND, SKY, shadow_map, trace, visible_hits
from selfsyn.world.veils import Veil

_SKY_LABEL = CLASSES.index("sky")
Labels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Materials:
    """What the visible points are made of, before light falls on them; P pixels in picture order."""

    albedo_P3: Floats
    normal_P3: Floats
    gloss: Floats
    open_sky: Floats  # share of ambient light that reaches the point
    label: Labels


def shaded(stage: Stage, *, plan: GroundPlan, light: Light, camera: Camera, directions: Triple) -> tuple[Floats, Labels]:
    """-> linear colour (H, W, 3) and train ids (H, W)."""
    depth, seen = trace(stage.solids, camera=camera, directions=directions)
    flat: Triple = tuple(axis.ravel() for axis in directions)  # type: ignore[assignment]
    reach = depth.ravel()
    points: Triple = (flat[0] * reach, flat[1] * reach, flat[2] * reach + np.float32(camera.eye))
    materials = _materials(stage, plan=plan, camera=camera, points=points, depth=reach, seen=seen.ravel())
    colour = np.empty((depth.size, 3), np.float32)
    above = seen.ravel() == SKY
    colour[above] = sky(_at(flat, above), light=light)
    below = ~above
    colour[below] = _lit(stage, light=light, materials=materials, points=points, directions=flat, depth=reach, where=below)
    picture, label = colour.reshape(*depth.shape, 3), materials.label.reshape(depth.shape)
    for veil, patch in _visible_veils(stage, camera):
        window = patch.rows, patch.columns
        rays: Triple = (directions[0][window], directions[1][window], directions[2][window])
        canvas = picture[window], label[window]
        _draw_veil(veil, canvas=canvas, light=light, camera=camera, depth=depth[window], directions=rays)
    return picture, label


def _at(triple: Triple, where: Mask | NDArray[np.intp]) -> Triple:
    return triple[0][where], triple[1][where], triple[2][where]


def _groups(seen: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each thing seen with the pixels that see it."""
    order = np.argsort(seen, kind="stable")
    things, first = np.unique(seen[order], return_index=True)
    yield from zip(things.tolist(), np.split(order, first[1:]), strict=True)


def _materials(
    stage: Stage, *, plan: GroundPlan, camera: Camera, points: Triple, depth: Floats, seen: NDArray[np.int32]
) -> Materials:
    size = len(seen)
    albedo, normal = np.zeros((size, 3), np.float32), np.zeros((size, 3), np.float32)
    gloss, open_sky = np.zeros(size, np.float32), np.ones(size, np.float32)
    label = np.full(size, IGNORE, np.uint8)
    for thing, pixels in _groups(seen):
        footprint = depth[pixels] / np.float32(camera.focal)
        place = _at(points, pixels)
        if thing == SKY:
            label[pixels] = _SKY_LABEL
        elif thing == GROUND:
            stretched = footprint * depth[pixels] / np.float32(camera.eye) * np.float32(0.6)
            found = ground(place[0], place[1], street=stage.street, plan=plan, footprint=stretched)
            albedo[pixels], label[pixels], gloss[pixels] = found
            normal[pixels, 2] = 1
            open_sky[pixels] = contact_shade(place[0], place[1], contacts_K5=stage.contact_table())
        else:
            solid = stage.solids[thing]
            facing = surface(solid, place, footprint=footprint)
            albedo[pixels], gloss[pixels] = solid.skin.paint(facing)
            normal[pixels], label[pixels] = facing.normal_N3, solid.skin.label
            open_sky[pixels] = np.clip(np.float32(0.72) + np.float32(0.14) * facing.z, 0.55, 1)
    return Materials(albedo, normal, gloss, open_sky, label)


def _lit(
    stage: Stage, *, light: Light, materials: Materials, points: Triple, directions: Triple, depth: Floats, where: Mask
) -> Floats:
    """Lambert's law for the sun, an ambient term from above, and a mirror image of the sky on glossy things."""
    albedo, normal, gloss = materials.albedo_P3[where], materials.normal_P3[where], materials.gloss[where]
    here, ray, reach = _at(points, where), _at(directions, where), depth[where]
    facing = np.maximum(sum(normal[:, i] * light.sun[i] for i in range(3)), 0)
    if light.casts_shadows:
        solids = [*stage.solids, *(veil.solid for veil in stage.veils if veil.solid.shape == "ellipsoid")]
        facing = facing * shadow_map(solids, sun=light.sun).lit(here, normal_N3=normal)
    upward = (np.float32(0.65) + np.float32(0.35) * normal[:, 2]) * materials.open_sky[where]
    lit = albedo * (light.ambient * upward[:, None] + light.sunlight * facing[:, None])
    return hazed(_reflecting(lit, light=light, normal=normal, gloss=gloss, ray=ray), depth=reach, light=light)


def _reflecting(lit: Floats, *, light: Light, normal: Floats, gloss: Floats, ray: Triple) -> Floats:
    """Schlick's approximation with a sky that is bright above and dark below the horizon."""
    length = np.sqrt(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2])
    against = -sum(ray[i] * normal[:, i] for i in range(3)) / length
    fresnel = np.float32(0.12) + np.float32(0.88) * (1 - np.clip(np.abs(against), 0, 1)) ** 3
    rise = ray[2] / length + 2 * against * normal[:, 2]
    mirror = light.horizon * np.float32(0.6) + light.zenith * np.float32(0.4)
    mirror = mirror * np.where(rise > 0.05, np.float32(1), np.float32(0.25))[:, None]
    share = (gloss * fresnel)[:, None]
    return lit * (1 - share) + mirror * share


def _visible_veils(stage: Stage, camera: Camera) -> list[tuple[Veil, Patch]]:
    """Veils with their patch of screen, farthest first."""
    if not stage.veils:
        return []
    places = patches(camera, corners_M83=corners([veil.solid for veil in stage.veils]))
    found = [(veil, patch) for veil, patch in zip(stage.veils, places, strict=True) if patch is not None]
    return sorted(found, key=lambda entry: -entry[1].nearest)


def _draw_veil(
    veil: Veil, *, canvas: tuple[Floats, Labels], light: Light, camera: Camera, depth: Floats, directions: Triple
) -> None:
    """Blend the veil's bars into the picture and write its label over its outline; both are changed in place."""
    hit, distance = visible_hits(veil.solid, camera=camera, directions=directions, depth=depth)
    if not hit.any():
        return
    picture, label = canvas
    reach, ray = distance[hit], _at(directions, hit)
    points: Triple = (ray[0] * reach, ray[1] * reach, ray[2] * reach + np.float32(camera.eye))
    place = surface(veil.solid, points, footprint=reach / np.float32(camera.focal))
    length = np.sqrt(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2])
    facing = np.abs(sum(ray[i] * place.normal_N3[:, i] for i in range(3))) / length
    cover, outline = veil.cover(place, facing)
    albedo, _ = veil.solid.skin.paint(place)
    colour = hazed(albedo * (light.ambient + light.sunlight * np.float32(0.4)), depth=reach, light=light)
    picture[hit] += (colour - picture[hit]) * cover[:, None]
    inside = hit.copy()
    inside[hit] = outline
    label[inside] = veil.solid.skin.label
