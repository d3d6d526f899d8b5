"""Cityscapes' folders: leftImg8bit/train/CITY/ and gtFine/train/CITY/; and confidence/, which readers of Cityscapes pass over.

With the 19 classes the labels are *_gtFine_labelIds.png, as every reader expects; other classes have no Cityscapes ids and are
*_gtFine_labelTrainIds.png.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.formats.item import Classes, Labelled, Mask, Pieces, Rows, Texts
from selfsyn.errors import InputError
from selfsyn.images import encode_png, read_ids
from selfsyn.labels import CLASSES, IGNORE, LABEL_ID_OF_TRAIN_ID, TRAIN_ID_OF_LABEL_ID

COLOURED: Final = False
OFFICIAL: Final = re.compile(r"(?P<city>[a-z-]+)_\d{6}_\d{6}")
ELSEWHERE: Final = "real"  # the city of images that are not named as in Cityscapes
LABEL_IDS, TRAIN_IDS = "_gtFine_labelIds", "_gtFine_labelTrainIds"


def pieces(item: Labelled, classes: Classes) -> Pieces:
    """See Format. A link ends in .png whatever the image is: readers look for that name, and at the bytes for the format."""
    official = OFFICIAL.fullmatch(item.name)
    place = f"train/{official['city'] if official else ELSEWHERE}/{item.name}"
    kind, ids = (LABEL_IDS, LABEL_ID_OF_TRAIN_ID[item.label]) if classes.names == CLASSES else (TRAIN_IDS, item.label)
    files = {f"gtFine/{place}{kind}.png": encode_png(ids), f"confidence/{place}_confidence.png": encode_png(item.confidence)}
    return Pieces(files, {f"leftImg8bit/{place}_leftImg8bit.png": item.image})


def closing(rows: Rows, classes: Classes) -> Iterator[tuple[str, Texts]]:
    """See Format."""
    yield from ()


def masks(folder: Path, classes: Classes) -> Iterator[tuple[str, Mask]]:
    """See Format."""
    kind = LABEL_IDS if classes.names == CLASSES else TRAIN_IDS
    found = sorted((folder / "gtFine").glob(f"*/*/*{kind}.png"))
    if not found:
        raise InputError(f"{folder}: no gtFine/SPLIT/CITY/*{kind}.png; expected Cityscapes' folders")
    for path in found:
        yield path.name.removesuffix(f"{kind}.png"), partial(_mask, path, classes)


def _mask(path: Path, classes: Classes) -> NDArray[np.uint8]:
    ids = read_ids(path)
    if classes.names == CLASSES:
        return np.asarray(TRAIN_ID_OF_LABEL_ID[ids], dtype=np.uint8)
    strange = (ids >= len(classes.names)) & (ids != IGNORE)
    if strange.any():
        raise InputError(f"{path}: train id {ids[strange].min()}; expected 0 to {len(classes.names) - 1}, or {IGNORE}")
    return ids
