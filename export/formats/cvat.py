"""CVAT's "Segmentation mask 1.1": labelmap.txt, ImageSets/Segmentation/default.txt, SegmentationClass/. No place for confidence.

The files are named as the images that were uploaded to CVAT. `background` must be a label of the task.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.formats.item import Classes, Labelled, Mask, Pieces, Rows, Texts, by_colour, colours_in
from selfsyn.errors import InputError
from selfsyn.files import read_text

COLOURED: Final = True
MAP: Final = "labelmap.txt"
NAME: Final = re.compile(r"[^#:][^:]*$")
LINE: Final = re.compile(r"^(?P<name>[^#:][^:]*):(?P<colour>\d+,\d+,\d+):")


def pieces(item: Labelled, classes: Classes) -> Pieces:
    """See Format. InputError for a class whose name would end early in labelmap.txt."""
    for name in classes.names:
        if not NAME.match(name):
            raise InputError(f"class {name!r} cannot be written to CVAT's {MAP}: expected no colon, and no # at the start")
    return Pieces({f"SegmentationClass/{item.stem}.png": item.numbered_png(classes)}, row={"stem": item.stem})


def closing(rows: Rows, classes: Classes) -> Iterator[tuple[str, Texts]]:
    """See Format."""
    colours = classes.palette().tolist()
    lines = [f"{name}:{','.join(map(str, colours[number]))}::\n" for number, name in enumerate(classes.with_background)]
    yield MAP, iter(["# label:color_rgb:parts:actions\n", *lines])
    yield "ImageSets/Segmentation/default.txt", (f"{row['stem']}\n" for row in rows())


def masks(folder: Path, classes: Classes) -> Iterator[tuple[str, Mask]]:
    """See Format."""
    if not (folder / MAP).exists():
        raise InputError(f"{folder / MAP}: no such file; expected an unpacked export in CVAT's format 'Segmentation mask 1.1'")
    found = [match for line in read_text(folder / MAP).splitlines() if (match := LINE.match(line))]
    names = {colour: match["name"] for match in found for colour in [_colour(match["colour"])]}
    pictures = folder / "SegmentationClass"
    for path in sorted(pictures.rglob("*.png")):
        yield str(path.relative_to(pictures).with_suffix("")), partial(_mask, path, names, classes)


def _colour(text: str) -> tuple[int, int, int]:
    red, green, blue = map(int, text.split(","))
    return red, green, blue


def _mask(path: Path, names: dict[tuple[int, int, int], str], classes: Classes) -> NDArray[np.uint8]:
    return by_colour(colours_in(path), names, classes, path=path)
