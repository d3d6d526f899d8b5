"""Weather: sun, ambient light, haze, and the sky with its clouds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from selfsyn.world.dice import Dice
from selfsyn.world.look import Look
from selfsyn.world.noise import Floats, fractal
from selfsyn.world.solids import Triple


@dataclass(frozen=True, eq=False)
class Light:
    """Colours are linear RGB (3,); a white surface in ambient light alone is about 0.7 bright."""

    sun: Floats  # unit vector towards the sun (3,)
    sunlight: Floats
    ambient: Floats
    horizon: Floats
    zenith: Floats
    haze: float  # 1/m
    clouds: tuple[float, float, float, float]  # share of sky, sharpness, scale, offset
    cloud_colour: Floats

    @property
    def casts_shadows(self) -> bool:
        return float(self.sunlight[0]) > 0.15


def drawn_light(look: Look, *, dice: Dice) -> Light:
    """The light of one frame: clear, overcast, with a low sun, or hazy."""
    weather = dice.weighted(look.light.weather)
    height = dice.uniform((6, 16)) if weather == "low_sun" else dice.uniform(look.light.sun_height)
    elevation, azimuth = math.radians(height), dice.uniform((0, 2 * math.pi))
    sun = (math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation))
    strength = dice.uniform(look.light.sun_strength) * {"clear": 1.0, "overcast": 0.06, "low_sun": 0.9, "haze": 0.25}[weather]
    warmth = {"clear": 0.08, "overcast": 0.0, "low_sun": dice.uniform((0.25, 0.5)), "haze": 0.1}[weather]
    horizon, zenith = (colour * np.float32(look.light.sky) for colour in _sky_colours(look, dice, weather))
    grey = weather in ("overcast", "haze")
    ambient = dice.uniform((0.5, 0.8)) * (1.3 if grey else 1)
    return Light(
        sun=np.array(sun, np.float32),
        sunlight=np.array([strength * (1 + warmth * 0.4), strength, strength * (1 - warmth)], np.float32),
        ambient=np.array([0.97, 1, 1.04] if grey else [0.88, 1, 1.16], np.float32) * np.float32(ambient),
        horizon=horizon,
        zenith=zenith,
        haze=dice.uniform((0.006, 0.016)) if weather == "haze" else dice.uniform(look.light.haze),
        clouds=(dice.uniform((0.0, 0.6)), dice.uniform((2, 5)), dice.uniform((0.5, 1.4)), dice.uniform((0, 16))),
        cloud_colour=np.full(3, dice.uniform((0.75, 1.25)) * float(horizon.mean()), np.float32),
    )


def sky(directions: Triple, *, light: Light) -> Floats:
    """Colour of the sky along each ray, (N, 3); directions are (N,) components of any length."""
    x, y, z = directions
    length = np.sqrt(x * x + y * y + z * z)
    height = np.clip(z / length, 0, 1)
    colour = light.horizon + (light.zenith - light.horizon) * np.sqrt(height)[:, None]
    share, sharpness, scale, offset = light.clouds
    flat = np.float32(scale) / (height + np.float32(0.15)) / length
    u, v = x * flat + np.float32(offset), y * flat + np.float32(offset)
    cover = np.clip((fractal(u, v) - np.float32(1 - share)) * np.float32(sharpness), 0, 1)[:, None]
    shade = np.float32(0.75) + np.float32(0.4) * fractal(u * 2, v * 2)
    return colour * (1 - cover) + light.cloud_colour * shade[:, None] * cover


def hazed(colour_N3: Floats, *, depth: Floats, light: Light) -> Floats:
    """Mix in the light that the air scatters over `depth` metres (N,)."""
    clear = np.exp(np.float32(-light.haze) * np.minimum(depth, np.float32(400)))[:, None]
    return colour_N3 * clear + light.horizon * np.float32(0.85) * (1 - clear)


def _sky_colours(look: Look, dice: Dice, weather: str) -> tuple[Floats, Floats]:
    if weather in ("overcast", "haze"):
        grey = dice.uniform((0.8, 1.7))
        horizon = np.array([0.98, 1.0, 1.03], np.float32) * np.float32(grey)
        return horizon, horizon * np.float32(dice.uniform((0.55, 1.0)))
    blue = dice.uniform(look.light.sky_blue)
    bright = dice.uniform((0.9, 1.3))
    if weather == "low_sun":
        horizon = np.array([1.15, 0.95, 0.75], np.float32) * np.float32(bright)
    else:
        horizon = np.array([0.75, 0.87, 1.0], np.float32) * np.float32(bright)
    deep = np.array([0.16, 0.34, 0.78], np.float32)
    return horizon, (deep * np.float32(blue) + horizon * np.float32(max(0.0, 1 - blue))).astype(np.float32)
