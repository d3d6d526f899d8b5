"""Random changes of a training example, each a function of the generator it is given. Never imports torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from selfsyn.config import Augment
from selfsyn.labels import IGNORE

Picture = NDArray[np.uint8]


def augmented(image: Picture, label: Picture, *, augment: Augment, rng: np.random.Generator) -> tuple[Picture, Picture]:
    """(H, W, 3) RGB and (H, W) train ids -> the same sizes and types, geometry changed alike in both."""
    image, label = _zoomed(image, label, most=augment.zoom, rng=rng)
    if augment.flip and rng.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    image = _recoloured(image, strength=augment.colour, rng=rng)
    image = _blurred(image, most=augment.blur, rng=rng)
    image = _noisy(image, most=augment.noise, rng=rng)
    return _with_cutout(image, np.ascontiguousarray(label), most=augment.cutout, rng=rng)


def class_mixed(
    image: Picture, label: Picture, *, onto: tuple[Picture, Picture], rng: np.random.Generator
) -> tuple[Picture, Picture, NDArray[np.bool_]]:
    """ClassMix (Olsson et al. 2021, between domains as in DACS): half of the label's classes, drawn at random, cut out of
    `image` and laid over the image and label `onto`, all of one size. A label with a single class gives it whole.

    -> the mixed image, its label, and (H, W) where they are those of `image`.
    """
    classes = np.unique(label[label != IGNORE])
    drawn = rng.permutation(classes)[: (len(classes) + 1) // 2]
    cut = np.isin(label, drawn)
    below_image, below_label = onto
    return np.where(cut[..., None], image, below_image), np.where(cut, label, below_label), cut


def _zoomed(image: Picture, label: Picture, *, most: float, rng: np.random.Generator) -> tuple[Picture, Picture]:
    height, width = label.shape
    factor = np.exp(rng.uniform(0, np.log(most))) if most > 1 else 1.0
    aspect = np.exp(rng.uniform(-0.1, 0.1)) if most > 1 else 1.0
    across, down = min(1.0, aspect / factor), min(1.0, 1 / (aspect * factor))
    left, top = rng.random(2) * (1 - across, 1 - down) * (width, height)
    box = (left, top, left + across * width, top + down * height)
    size = (width, height)
    resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized), np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST, box=box))


def _recoloured(image: Picture, *, strength: float, rng: np.random.Generator) -> Picture:
    """Brightness, contrast, gamma and white balance as one table for each channel, then saturation."""
    levels = np.arange(256, dtype=np.float32) / 255
    gamma = np.exp(rng.normal(0, 0.6 * strength))
    gains = np.exp(rng.normal(0, 0.5 * strength) + rng.normal(0, 0.25 * strength, size=3))
    contrast, offset = np.exp(rng.normal(0, 0.4 * strength)), rng.normal(0, 0.15 * strength)
    tables = [((levels**gamma * gain) - 0.5) * contrast + 0.5 + offset for gain in gains]
    coloured = np.stack([table[image[..., channel]] for channel, table in enumerate(tables)], axis=-1)
    grey = coloured.mean(axis=-1, keepdims=True)
    saturation = np.exp(rng.normal(0, 0.8 * strength))
    return _as_bytes(255 * (grey + saturation * (coloured - grey)))


def _blurred(image: Picture, *, most: float, rng: np.random.Generator) -> Picture:
    if rng.random() < 0.5 or most <= 0:
        return image
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(rng.uniform(0, most))))


def _noisy(image: Picture, *, most: float, rng: np.random.Generator) -> Picture:
    if rng.random() < 0.5 or most <= 0:
        return image
    return _as_bytes(image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0, most)))


def _with_cutout(image: Picture, label: Picture, *, most: float, rng: np.random.Generator) -> tuple[Picture, Picture]:
    if most <= 0 or rng.random() < 0.5:
        return image, label
    height, width = label.shape
    tall, wide = (rng.uniform(0.1, 1, size=2) * most * (height, width)).astype(int)
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    image, label = image.copy(), label.copy()
    image[top : top + tall, left : left + wide] = rng.integers(256, size=3)
    label[top : top + tall, left : left + wide] = IGNORE
    return image, label


def _as_bytes(values: NDArray[np.float32]) -> Picture:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
