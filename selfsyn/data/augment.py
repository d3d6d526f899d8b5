"""Augmentation of a training example; the random generator decides every change. Never imports torch."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsyn.config import Augment
from selfsyn.data.color_transfer import Colours, with_colours
from selfsyn.data.sampling import LEAST_SHARE
from selfsyn.data.weather import WEATHERS
from selfsyn.images import decode_image, encode_jpeg, resize_image, resize_label
from selfsyn.labels import IGNORE

Picture = NDArray[np.uint8]
# The arrays of an example by name: 'image' (H, W, 3) RGB, 'label' (H, W) train ids, and other maps (H, W).
Record = dict[str, NDArray[Any]]
Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of width and height
TRIES = 10  # random crops to try for the wanted class (Hoyer et al. 2022)
NOISE_VALUES = 2**20  # size of the noise table, which is five times as fast as a new value for each pixel


def augmented(
    record: Record,
    *,
    size: tuple[int, int],
    augment: Augment,
    rng: np.random.Generator,
    wanted: int | None = None,
    colours: Colours | None = None,
) -> Record:
    """`placed`, then color transfer if `colours` are given, then `disturbed`."""
    made = placed(record, size=size, augment=augment, rng=rng, wanted=wanted)
    image = made["image"] if colours is None else with_colours(made["image"], colours)
    return made | {"image": disturbed(image, augment=augment, rng=rng)}


def placed(
    record: Record, *, size: tuple[int, int], augment: Augment, rng: np.random.Generator, wanted: int | None = None
) -> Record:
    """Random crop and flip of all arrays alike, whatever their resolutions -> all at `size` (width, height).

    Crops before resizing, so that a zoomed crop keeps the detail of the file.  wanted: a class that the crop should show.
    """
    box = _box(record["label"], most=augment.zoom, wanted=wanted, rng=rng)
    cropped = {name: _cropped(array, box) for name, array in record.items()}
    made = {name: (resize_image if name == "image" else resize_label)(array, size=size) for name, array in cropped.items()}
    if augment.flip and rng.random() < 0.5:
        return {name: cv2.flip(array, 1) for name, array in made.items()}
    return made


def disturbed(image: Picture, *, augment: Augment, rng: np.random.Generator) -> Picture:
    """Random weather, color jitter, blur, noise and JPEG compression, without change of geometry.

    The order is that of a camera: air, exposure, lens, sensor, file.
    """
    image = _weathered(image, most=augment.weather, rng=rng)
    image = _recoloured(image, strength=augment.color_jitter, rng=rng)
    image = _blurred(image, most=augment.blur, rng=rng)
    image = _noisy(image, most=augment.noise, rng=rng)
    return _compressed(image, most=augment.jpeg, rng=rng)


def class_mixed(
    image: Picture, label: Picture, *, onto: tuple[Picture, Picture], rng: np.random.Generator
) -> tuple[Picture, Picture, NDArray[np.bool_]]:
    """ClassMix (Olsson et al. 2021; between domains as in DACS): paste a random half of the label's classes from `image` onto
    the image and label `onto`, all of the same size. A single class is pasted whole.

    -> the mixed image, its label, and the (H, W) bool mask of pasted pixels.
    """
    classes = np.unique(label[label != IGNORE])
    drawn = rng.permutation(classes)[: (len(classes) + 1) // 2]
    cut = np.isin(label, drawn)
    below_image, below_label = onto
    return np.where(cut[..., None], image, below_image), np.where(cut, label, below_label), cut


def masked(image: Picture, *, share: float, block: int, colour: Picture, rng: np.random.Generator) -> Picture:
    """Masked image (MIC, Hoyer et al. 2023, eq. 4 and 5): replace each block of `block` x `block` pixels of the (H, W, 3) RGB
    image by `colour` (3,) with probability `share`."""
    height, width = image.shape[:2]
    hidden = rng.random((-(-height // block), -(-width // block))) < share
    hidden = hidden.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]
    return np.where(hidden[..., None], colour, image)


def _box(label: Picture, *, most: float, wanted: int | None, rng: np.random.Generator) -> Box:
    """A random box; with `wanted`, the first of TRIES boxes that shows the class, else the box that shows most of it."""
    if wanted is None:
        return _zoom(most=most, rng=rng)
    best, most_shown = (0.0, 0.0, 1.0, 1.0), -1.0
    for _ in range(TRIES):
        box = _zoom(most=most, rng=rng)
        shown = float((_cropped(label, box) == wanted).mean())
        if shown > most_shown:
            best, most_shown = box, shown
        if shown > LEAST_SHARE:
            break
    return best


def _zoom(*, most: float, rng: np.random.Generator) -> Box:
    """A random crop as a box of shares, because image and label may have different sizes."""
    factor = np.exp(rng.uniform(0, np.log(most))) if most > 1 else 1.0
    aspect = np.exp(rng.uniform(-0.1, 0.1)) if most > 1 else 1.0
    across, down = min(1.0, aspect / factor), min(1.0, 1 / (aspect * factor))
    left, top = rng.random(2) * (1 - across, 1 - down)
    return left, top, left + across, top + down


def _cropped(picture: Picture, box: Box) -> Picture:
    height, width = picture.shape[:2]
    left, right = (round(share * width) for share in box[::2])
    top, bottom = (round(share * height) for share in box[1::2])
    return picture[top : max(bottom, top + 1), left : max(right, left + 1)]


def _weathered(image: Picture, *, most: float, rng: np.random.Generator) -> Picture:
    if most <= 0 or rng.random() < 0.5:
        return image
    weather = WEATHERS[int(rng.integers(len(WEATHERS)))]
    return weather(image, strength=rng.uniform(0, most), rng=rng)


def _recoloured(image: Picture, *, strength: float, rng: np.random.Generator) -> Picture:
    """Brightness, contrast, gamma and white balance in a look-up table for each channel, then saturation."""
    if strength <= 0:
        return image
    levels = np.arange(256) / 255
    gamma = np.exp(rng.normal(0, 0.6 * strength))
    gains = np.exp(rng.normal(0, 0.5 * strength) + rng.normal(0, 0.25 * strength, size=3))
    contrast, offset = np.exp(rng.normal(0, 0.4 * strength)), rng.normal(0, 0.15 * strength)
    tables = ((levels**gamma)[:, None] * gains - 0.5) * contrast + 0.5 + offset
    coloured = cv2.LUT(image, np.clip(np.rint(255 * tables), 0, 255).astype(np.uint8)[None])
    saturation = np.exp(rng.normal(0, 0.8 * strength))
    return cv2.transform(coloured, saturation * np.eye(3) + (1 - saturation) / 3)


def _blurred(image: Picture, *, most: float, rng: np.random.Generator) -> Picture:
    if rng.random() < 0.5 or most <= 0:
        return image
    return cv2.GaussianBlur(image, (0, 0), max(rng.uniform(0, most), 1e-3))


def _noisy(image: Picture, *, most: float, rng: np.random.Generator) -> Picture:
    if rng.random() < 0.5 or most <= 0:
        return image
    values = _noise_table()[int(rng.integers(NOISE_VALUES // 2)) :]
    noise = np.resize(values, image.shape) * np.float32(rng.uniform(0, most))
    return cv2.add(image, noise, dtype=cv2.CV_8U)


def _compressed(image: Picture, *, most: int, rng: np.random.Generator) -> Picture:
    if most <= 0 or rng.random() < 0.5:
        return image
    return decode_image(encode_jpeg(image, quality=100 - int(rng.integers(most + 1))))


@cache
def _noise_table() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(NOISE_VALUES, dtype=np.float32)
