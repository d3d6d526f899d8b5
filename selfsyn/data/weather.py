"""Haze, rain and snow over an image without depth; each is a function of its random generator.

All three blend the image with a colour, J -> J (1 - a) + A a with opacity a, on gamma-encoded levels as in Foggy Cityscapes
(Sakaridis et al. 2018); drops and flakes cover a pixel for a share of the exposure (Garg & Nayar 2007).
(H, W, 3) uint8 RGB in and out, a new array; strength 0 to 1. Never imports torch.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Map = NDArray[np.float32]
EXTINCTION = 0.03  # 1/m, of haze at strength 1: a twentieth of the contrast is left at 100 m
FARTHEST = 60.0  # metres: above the horizon a street has walls and trees, not infinite distance
GROUND = 2.2  # metres * share of the height: a camera 1.5 m high with a focal length of 1.5 heights
HORIZON = (0.3, 0.6)  # share of the height; a zoomed crop may hold it anywhere
LAYERS = (0.25, 0.5, 1.0)  # apparent sizes of far, middle and near drops or flakes
BITS = 4  # fractional bits of OpenCV's drawing coordinates


def hazed(image: Picture, *, strength: float, rng: np.random.Generator) -> Picture:
    """Haze: airlight with opacity a = 1 - exp(-beta d) (Koschmieder 1924), where the depth d is guessed."""
    depth_H = guessed_depth(image.shape[0], horizon=rng.uniform(*HORIZON))
    opacity_H = 1 - np.exp(-strength * EXTINCTION * depth_H)
    return blended(image, colour=_airlight(rng), opacity_HW=np.repeat(opacity_H[:, None], image.shape[1], axis=1))


def rained(image: Picture, *, strength: float, rng: np.random.Generator) -> Picture:
    """Rain: streaks, light haze, and a wet lens that spreads a part of the light over the whole picture."""
    wet = np.full(image.shape[:2], 0.3 * strength, np.float32)
    image = blended(image, colour=np.array(cv2.mean(image)[:3]), opacity_HW=wet)
    image = hazed(image, strength=strength / 2, rng=rng)
    streaks = falling(image.shape[:2], count=round(80 * strength), length=0.2, width=0.005, rng=rng)
    return blended(image, colour=_airlight(rng), opacity_HW=streaks * np.float32(0.4))


def snowed(image: Picture, *, strength: float, rng: np.random.Generator) -> Picture:
    """Snow: light haze, and flakes that are shorter, wider and more opaque than drops."""
    image = hazed(image, strength=strength / 2, rng=rng)
    flakes = falling(image.shape[:2], count=round(120 * strength), length=0.008, width=0.012, rng=rng)
    return blended(image, colour=np.full(3, rng.uniform(220, 250)), opacity_HW=flakes * np.float32(0.8))


WEATHERS = (hazed, rained, snowed)


def guessed_depth(height: int, *, horizon: float) -> Map:
    """(H,) metres to a flat road seen by a level camera, d = h f / (y - y0), at most FARTHEST; FARTHEST above the horizon.

    horizon: y0, a share of the height.
    """
    below_H = (np.arange(height, dtype=np.float32) + np.float32(0.5)) / np.float32(height) - np.float32(horizon)
    return np.asarray(GROUND / np.maximum(below_H, np.float32(GROUND / FARTHEST)), np.float32)


def blended(image: Picture, *, colour: NDArray[np.floating], opacity_HW: Map) -> Picture:
    """The image behind `colour` (3,) of grey levels, opacity 0 to 1."""
    above = cv2.rectangle(np.empty_like(image), (0, 0), image.shape[1::-1], np.rint(colour).tolist(), cv2.FILLED)
    return np.asarray(cv2.blendLinear(image, above, 1 - opacity_HW, opacity_HW), np.uint8)


def falling(shape: tuple[int, int], *, count: int, length: float, width: float, rng: np.random.Generator) -> Map:
    """(H, W) coverage 0 to 1 by streaks with a common slant: `count` near ones, and twice as many at each halving of size.

    length, width: of the near ones, as shares of the height. They are blurred by half of their width.
    """
    cover = np.zeros(shape, np.uint8)
    slant = rng.normal(0, 0.2)
    for size in LAYERS:
        lines = _lines(shape, count=round(count / size), length=length * size, slant=slant, rng=rng)
        pixels = width * size * shape[0]
        shade = 255 * min(1.0, max(0.4, pixels))  # a streak thinner than a pixel covers it in part
        cv2.polylines(cover, lines, False, shade, max(1, round(pixels)), cv2.LINE_AA, BITS)
    blurred = cv2.GaussianBlur(cover, (0, 0), max(width * shape[0] / 4, 0.3))
    return blurred.astype(np.float32) / 255


def _lines(
    shape: tuple[int, int], *, count: int, length: float, slant: float, rng: np.random.Generator
) -> list[NDArray[np.int32]]:
    """`count` lines of two points (x, y) in OpenCV's fixed-point coordinates."""
    height, width = shape
    down = height * length * rng.uniform(0.6, 1.4, count)
    along = np.stack([down * (slant + rng.normal(0, 0.03, count)), down], axis=1)
    start = rng.uniform((-0.1, -length), (1.1, 1), (count, 2)) * (width, height)
    return list(np.rint(np.stack([start, start + along], axis=1) * 2**BITS).astype(np.int32))


def _airlight(rng: np.random.Generator) -> NDArray[np.float64]:
    """(3,) colour of the airlight: a bright grey with a tint, 0..255."""
    return np.clip(rng.uniform(160, 235) + rng.normal(0, 5, 3), 0, 255)
