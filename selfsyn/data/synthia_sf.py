"""SYNTHIA-SF, 2,224 frames in six sequences: SEQn/RGBLeft/NAME.png, SEQn/GTLeft/NAME.png with the class in the first channel.

The colours in SEQn/GTLeftDebug verify that the ids on disk follow the published order of classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import CITYSCAPES_19
from selfsyn.data.dataset import DataSet, Sample, named
from selfsyn.errors import InputError
from selfsyn.images import read_drawing, read_ids, read_image

# Order and colours as in Datumaro's table of this data set. Truck and train share a colour: never decode by colour.
COLOURS = (
    (0, 0, 0), (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 80, 100),
    (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 31), (157, 234, 50), (72, 0, 98), (167, 106, 29),
)  # fmt: skip
# Road lines are no road by default: see `ids` in run.toml.
NAMES = dict(enumerate(("void", *CITYSCAPES_19.names, "lane marking", "other", "road work")))
TOLERANCE = 1  # levels; bicycle's blue is 31 in one table and 32 in another
AGREEING = 0.99  # of a label's pixels


def read_first_channel(path: Path) -> NDArray[np.uint8]:
    """-> (H, W) uint8 classes: the first channel of an 8-bit image; of a grey one of fewer bits, the value."""
    image = read_drawing(path, what="ids")
    if image.mode == "L":
        return read_ids(path)
    if image.mode not in ("RGB", "RGBA"):
        raise InputError(
            f"{path}: a label of mode {image.mode}; expected 8-bit grey, RGB or RGBA with the class in the first channel"
        )
    return np.asarray(image.getchannel(0))


def verify_against_colours(sample: Sample) -> None:
    """InputError when a label's classes are not those of its debug picture, or a picture is missing."""
    for path, ids in sample:
        debug = path.parent.with_name(f"{path.parent.name}Debug") / path.name
        if not debug.is_file():
            raise InputError(f"{debug}: not found; expected the colours of {path}, which verify the order of its ids")
        colours = read_image(debug).astype(int)
        expected = np.array([*COLOURS, *[(-9, -9, -9)] * (256 - len(COLOURS))])[ids]
        agrees = colours.shape == expected.shape and (np.abs(colours - expected) <= TOLERANCE).all(axis=2).mean() >= AGREEING
        if not agrees:
            raise InputError(f"{path}: its ids differ from the colours in {debug}; use layout 'plain' with `ids`")


def _in_sequences(root: Path, folder: str) -> dict[str, Path]:
    return named((f"{path.parent.parent.name}_{path.stem}", path) for path in root.glob(f"SEQ*/{folder}/*.[pP][nN][gG]"))


SYNTHIA_SF = DataSet(
    find_images=lambda root, split: _in_sequences(root, "RGBLeft"),
    find_labels=lambda root, split: _in_sequences(root, "GTLeft"),
    names=NAMES,
    expects="SEQn/RGBLeft/NAME.png, SEQn/GTLeft/NAME.png and SEQn/GTLeftDebug/NAME.png",
    read=read_first_channel,
    verify=verify_against_colours,
    areas=lambda root, split: sorted(root.glob("SEQ*/RGBLeft")),
)
