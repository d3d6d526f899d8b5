"""What a look is made of: the streets, materials, light and lens that frames are drawn from, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from selfsyn.world.dice import Colour, Range

Palette = tuple[Colour, ...]  # linear RGB, 0 to 1


@dataclass(frozen=True, kw_only=True)
class StreetLook:
    """How a street is laid out and how full it is. Lengths in metres; counts are means per frame."""

    lanes: Mapping[int, float]  # weights
    lane_width: Range
    curvature: float  # standard deviation, 1/m
    pavement: Range  # width of the pavement
    verge: float  # chance of a strip of grass between kerb and pavement
    zones: Mapping[str, float]  # what lines the street: row, house, wall, park
    zone_length: Range
    side_streets: float  # chance of the next one
    storeys: Mapping[tuple[float, float], float]  # building height ranges, weighted
    plot: Range  # width of a building
    setback: Range  # from pavement to facade
    traffic: float  # chance that a stretch of lane holds a vehicle
    parked: float  # chance that a side is lined with parked cars
    vehicles: Mapping[str, float]  # weights of what drives there
    trams: float  # chance of a tram line in the street
    walkers: float
    riders: float
    motorcyclists: float
    standing_cycles: float
    poles: tuple[int, int]  # on either side
    pole_kinds: Mapping[str, float]
    fences: float  # chance of a railing at the kerb
    avenue: float  # chance of a row of street trees
    tree_height: Range


@dataclass(frozen=True, kw_only=True)
class MaterialLook:
    """What things are made of: palettes in linear RGB, and ranges."""

    walls: Palette
    roofs: Palette
    fences: Palette
    pole_metal: Palette
    cars: Palette
    cloth: Palette
    bricks: float  # chance that a wall shows its bricks
    pitched_roof: float
    glass_front: float  # chance of a facade in bands of glass
    shops: float
    window_width: Range  # share of a bay
    window_height: Range
    bay: Range  # metres between windows
    storey: Range
    dirt: Range  # strength of stains
    asphalt: Range
    asphalt_tint: Colour
    wear: Range  # contrast of the road's texture
    patches: float  # chance of repaired patches
    cobbles: float  # chance of a cobbled road
    paving: Range  # brightness of the pavement
    paving_tint: Colour
    slab: Range  # metres
    centre_line: Palette
    markings: float  # how much of the paint is left, at most
    crossings: float  # chance of painted crossings
    grass_hue: Range
    leaf_hue: Range
    leaf_saturation: Range
    leaf_value: Range
    bare_trees: float
    leaf_grain: Range  # noise cells per metre


@dataclass(frozen=True, kw_only=True)
class LightLook:
    """Sun, sky and air."""

    weather: Mapping[str, float]  # weights of clear, overcast, low_sun, haze
    sun_height: Range  # degrees
    sun_strength: Range  # against an ambient light of about 0.6
    sky_blue: Range  # strength of the blue overhead
    sky: float  # how much brighter the sky is than the engine draws it, against what it lights
    haze: Range  # 1/m on ordinary days
    wet: float  # chance of a wet road


@dataclass(frozen=True, kw_only=True)
class LensLook:
    """The camera: where it sits and what lens, sensor and codec do to the picture. Zero means: not at all."""

    field_of_view: Range  # degrees across
    eye_height: Range
    pitch: float  # radians, positive looks down
    pitch_sigma: float
    yaw_sigma: float
    bonnet: float  # chance of seeing the camera car's bonnet
    exposure: Range  # brightness, of 1 in linear light, that the middle of the street is given
    exposure_sigma: float  # stops by which that goes wrong
    white_balance_sigma: float
    gamma: Range
    saturation: Range
    contrast: Range
    blur: Range  # standard deviation in pixels at a width of 240
    vignette: Range  # share of light lost in the corners
    noise: Range  # standard deviation, of 1
    jpeg: tuple[int, int] | None  # quality range


@dataclass(frozen=True, kw_only=True)
class Look:
    name: str
    number: int  # part of every frame's random seed: never change it
    street: StreetLook
    material: MaterialLook
    light: LightLook
    lens: LensLook
