"""Datumaro's `common_semantic_segmentation`: images/, masks/, dataset_meta.json; and confidence/, which its importer passes over.

Datumaro converts it to COCO, VOC, CamVid, Cityscapes and others.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.formats.item import Classes, Labelled, Mask, Pieces, Rows, Texts, by_colour, colours_in, expected, train_id_table
from selfsyn.errors import InputError
from selfsyn.files import read_json, to_json
from selfsyn.images import encode_png, read_ids, read_raw

COLOURED: Final = True
META: Final = "dataset_meta.json"
EXPORT: Final = "Datumaro's common_semantic_segmentation"


def pieces(item: Labelled, classes: Classes) -> Pieces:
    """See Format."""
    files = {f"masks/{item.name}.png": item.numbered_png(classes), f"confidence/{item.name}.png": encode_png(item.confidence)}
    return Pieces(files, {f"images/{item.name}{item.image.suffix}": item.image})


def closing(rows: Rows, classes: Classes) -> Iterator[tuple[str, Texts]]:
    """See Format."""
    names, colours = classes.with_background, classes.palette()[: len(classes.names) + 1].tolist()
    meta = {"label_map": {str(number): name for number, name in enumerate(names)}, "segmentation_colors": colours}
    yield META, iter([to_json({**meta, "background_label": "0"})])


def masks(folder: Path, classes: Classes) -> Iterator[tuple[str, Mask]]:
    """See Format."""
    meta = read_json(folder / META)
    if meta is None or "label_map" not in meta:
        raise InputError(f"{folder / META}: no label_map; expected {EXPORT}")
    with expected(folder / META, EXPORT):
        names = {int(number): str(name) for number, name in meta["label_map"].items()}
    for path in sorted((folder / "masks").rglob("*.png")):
        yield path.stem, partial(_mask, path, names, meta.get("segmentation_colors", []), classes)


def _mask(path: Path, names: dict[int, str], colours: list[list[int]], classes: Classes) -> NDArray[np.uint8]:
    if read_raw(path).mode == "L":
        return np.asarray(train_id_table(names, classes, path=path)[read_ids(path)], dtype=np.uint8)
    with expected(path, EXPORT, f"segmentation_colors of {META}"):
        named = {(r, g, b): names[number] for number, (r, g, b) in enumerate(colours)}
    return by_colour(colours_in(path), named, classes, path=path)
