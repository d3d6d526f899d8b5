"""From linear light to the picture on disk: exposure, tone, lens, sensor, codec; and the camera car's bonnet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfsyn.images import decode_image, encode_jpeg
from selfsyn.labels import IGNORE
from selfsyn.world.dice import Dice
from selfsyn.world.look import LensLook, Look
from selfsyn.world.noise import Floats

_REFERENCE_WIDTH = 240  # pixels, for which a look's blur is given


def developed(light_HW3: Floats, *, look: LensLook, dice: Dice) -> NDArray[np.uint8]:
    """Linear light (H, W, 3) -> (H, W, 3) uint8. With zeros in the look this is exposure, contrast and gamma only."""
    picture = light_HW3 * _exposure(light_HW3, look, dice)
    blur = dice.uniform(look.blur) * light_HW3.shape[1] / _REFERENCE_WIDTH
    if blur > 0:
        picture = blurred(picture, sigma=blur)
    loss = dice.uniform(look.vignette)
    if loss > 0:
        picture = picture * _vignette(picture.shape, loss=loss)
    picture = _toned(picture, look, dice)
    noise = dice.uniform(look.noise)
    if noise > 0:
        picture = picture + _grain(picture, dice, sigma=noise)
    levels = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    if look.jpeg is None:
        return levels
    return decode_image(encode_jpeg(levels, quality=dice.whole(look.jpeg)))


def blurred(picture: Floats, *, sigma: float) -> Floats:
    """Gaussian blur of (H, W, 3) with a standard deviation in pixels; edges repeat."""
    radius = max(1, int(np.ceil(2.5 * sigma)))
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma * sigma))
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (0, 1):
        length = picture.shape[axis]
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(picture, pad, mode="edge")
        picture = sum(w * padded.take(range(i, i + length), axis) for i, w in enumerate(weights))  # type: ignore[assignment]
    return picture


def shrunk(picture: Floats, *, factor: int) -> Floats:
    """Mean of factor x factor blocks of (H, W, 3): the anti-aliasing."""
    total = sum(picture[i::factor, j::factor] for i in range(factor) for j in range(factor))
    return np.asarray(total / np.float32(factor * factor), np.float32)


def add_bonnet(light_HW3: Floats, label_HW: NDArray[np.uint8], *, look: Look, dice: Dice) -> None:
    """Draw the camera car's bonnet along the lower edge, in place, and label it IGNORE."""
    if not dice.chance(look.lens.bonnet):
        return
    height, width = label_HW.shape
    across = np.linspace(-1, 1, width, dtype=np.float32) + np.float32(dice.uniform((-0.3, 0.3)))
    rise = height * dice.uniform((0.02, 0.09)) * (1 - np.float32(0.5) * across * across)
    row = np.arange(height, dtype=np.float32)[:, None]
    bonnet = row > height - rise
    shine = np.clip((height - rise - row) / np.float32(height) * 6 + 1, 0, 1)[..., None]
    paint = np.array(dice.shade(look.material.cars), np.float32) * np.float32(0.5) + np.float32(0.25) * shine
    light_HW3[bonnet] = paint[bonnet]
    label_HW[bonnet] = IGNORE


def _exposure(light: Floats, look: LensLook, dice: Dice) -> Floats:
    """Automatic exposure on the lower two thirds, off by some stops; the sensor's white balance is off as well."""
    brightness = light[light.shape[0] // 3 :, :, 1]
    gain = dice.uniform(look.exposure) / (float(np.median(brightness)) + 0.02) * 2 ** dice.normal(look.exposure_sigma)
    balance = [1 + dice.normal(look.white_balance_sigma), 1.0, 1 + dice.normal(look.white_balance_sigma)]
    return np.array(balance, np.float32) * np.float32(gain)


def _vignette(shape: tuple[int, ...], *, loss: float) -> Floats:
    rows = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, shape[1], dtype=np.float32)[None]
    return (1 - np.float32(loss / 2) * (rows * rows + columns * columns))[..., None]


def _toned(picture: Floats, look: LensLook, dice: Dice) -> Floats:
    shoulder = picture * (1 + picture / 9) / (1 + picture) * np.float32(1.28)
    toned = np.clip(shoulder, 0, 1) ** np.float32(1 / dice.uniform(look.gamma))
    grey = toned.mean(-1, keepdims=True)
    toned = grey + (toned - grey) * np.float32(dice.uniform(look.saturation))
    return (toned - np.float32(0.5)) * np.float32(dice.uniform(look.contrast)) + np.float32(0.5)


def _grain(picture: Floats, dice: Dice, *, sigma: float) -> Floats:
    """Sensor noise: brightness noise and weaker colour noise, stronger in the dark."""
    shape = picture.shape
    common = dice.generator.standard_normal((*shape[:2], 1), dtype=np.float32)
    colour = dice.generator.standard_normal(shape, dtype=np.float32) * np.float32(0.6)
    return (common + colour) * np.float32(sigma) * (np.float32(1.3) - np.clip(picture, 0, 1) * np.float32(0.6))
