"""A data set of somebody's own, with any number of classes: rectangles in the plain layout, labels as colours or as ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from official_files import GREY, RGB, png, put

SEVEN = {
    "road": "#804080",
    "lane": "#ffffff",
    "parking": "#faaaa0",
    "vehicle": "#00008e",
    "green": "#6b8e23",
    "building": "#464646",
    "sky": "#4682b4",
}
UNLABELLED = "#000000"
FIRST_ID = 10  # of the labels that hold ids: none of them is a train id
SHAPE = (48, 64)


def many(count: int) -> dict[str, str]:
    """`count` names with colours that differ, the first ones dark."""
    return {
        f"thing {number}": f"#{40 + 7 * number:02x}{(90 + 53 * number) % 256:02x}{(31 * number) % 256:02x}"
        for number in range(count)
    }


def rgb(text: str) -> tuple[int, int, int]:
    """'#804080' -> (128, 64, 128)."""
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def scene(rng: np.random.Generator, count: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """(H, W) classes 0 .. count - 1, and count for a pixel without one: rectangles, so that every class occurs somewhere."""
    height, width = shape
    label = np.full(shape, int(rng.integers(count)))
    for _ in range(10):
        top, left = int(rng.integers(height)), int(rng.integers(width))
        label[top : top + height // 3, left : left + width // 3] = int(rng.integers(count))
    label[:2] = count
    return label


def picture(rng: np.random.Generator, label: np.ndarray, colours: dict[str, str]) -> np.ndarray:
    """(H, W, 3): each class in a colour that is not that of its label, and noise."""
    looks = np.array([*(rgb(colour)[::-1] for colour in colours.values()), (60, 60, 60)])
    return (looks[label] * 0.8 + 30 + rng.normal(0, 8, (*label.shape, 3))).clip(0, 255)


def in_colours(root: Path, colours: dict[str, str], *, frames: int, seed: int = 0, shape: tuple[int, int] = SHAPE) -> None:
    """images/NAME.png and labels/NAME.png: pictures in the colours of the classes, black where there is none."""
    rng = np.random.default_rng(seed)
    drawn = np.array([*map(rgb, colours.values()), rgb(UNLABELLED)])
    for number in range(frames):
        label = scene(rng, len(colours), shape)
        put(root / f"images/{number:03d}.png", png(picture(rng, label, colours), colour=RGB))
        put(root / f"labels/{number:03d}.png", png(drawn[label], colour=RGB))


def in_ids(root: Path, colours: dict[str, str], *, frames: int, seed: int, shape: tuple[int, int] = SHAPE) -> None:
    """images/NAME.png and labels/NAME.png: the ids FIRST_ID, FIRST_ID + 1, ..., and 255 where there is no class."""
    rng = np.random.default_rng(seed)
    for number in range(frames):
        label = scene(rng, len(colours), shape)
        put(root / f"images/{number:03d}.png", png(picture(rng, label, colours), colour=RGB))
        put(root / f"labels/{number:03d}.png", png(np.where(label < len(colours), label + FIRST_ID, 255), colour=GREY))


def recipe(path: Path, data: Path, colours: dict[str, str], *, of_tables: str = "") -> Path:
    """A run.toml to begin with: synthetic labels in colours, held-out labels in ids. of_tables: more text for [classes]."""
    names = ", ".join(f'"{name}"' for name in colours)
    shown = ", ".join(f'"{colour}"' for colour in colours.values())
    drawn = "\n".join([*(f'"{colour}" = "{name}"' for name, colour in colours.items()), f'"{UNLABELLED}" = "ignore"'])
    ids = "\n".join([*(f'"{FIRST_ID + place}" = "{name}"' for place, name in enumerate(colours)), '"255" = "ignore"'])
    text = f"""
seed = 0
size = [64, 48]

[classes]
names = [{names}]
colours = [{shown}]
{of_tables}

[synthetic]
layout = "plain"
root = "{data}/synthetic"

[synthetic.colours]
{drawn}

[real]
layout = "plain"
root = "{data}/real"

[held_out]
layout = "plain"
root = "{data}/held-out"

[held_out.ids]
{ids}

[adapter]
steps = 6
crop = 32
generator_channels = 4
generator_blocks = 1
discriminator_channels = 4
checkpoint_every = 6

[task]
architecture = "deeplabv3plus"
backbone = "test_efficientnet"
weights = "scratch"
decoder_channels = 8
output_stride = 32
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]

[train]
steps = 6
batch = 4
warmup_steps = 2
checkpoint_every = 6
rcs_temperature = 0.1

[rounds]
steps = 6
real_share = [0.0, 0.5]
rcs_temperature = 0.1
adabn_share = 0.5
"""
    path.write_text(text)
    return path


def written(data: Path, colours: dict[str, str], *, frames: int = 6, shape: tuple[int, int] = SHAPE) -> Path:
    """The three data sets of `recipe` below `data`."""
    in_colours(data / "synthetic", colours, frames=frames, shape=shape)
    in_ids(data / "real", colours, frames=frames, seed=1, shape=shape)
    in_ids(data / "held-out", colours, frames=max(3, frames // 2), seed=2, shape=shape)
    return data
