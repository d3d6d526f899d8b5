"""FiftyOne's LegacyFiftyOneDataset: samples.json, links to the images, masks, and confidence as heat maps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.formats.item import Classes, Labelled, Mask, Pieces, Rows, Texts, expected, json_list, train_id_table
from selfsyn.errors import InputError
from selfsyn.files import read_json, to_json
from selfsyn.images import encode_png, read_ids

COLOURED: Final = False
METADATA: Final = "metadata.json"
SAMPLES: Final = "samples.json"
EXPORT: Final = "an export as LegacyFiftyOneDataset"
TARGETS: Final = "default_mask_targets"


def pieces(item: Labelled, classes: Classes) -> Pieces:
    """See Format. 0 is ignored: FiftyOne does not draw it."""
    mask, heat = f"fields/segmentation/{item.name}.png", f"fields/confidence_map/{item.name}.png"
    picture = f"data/{item.name}{item.image.suffix}"
    row = {
        "filepath": picture,
        "tags": [],
        "mean_confidence": item.mean_confidence,
        "segmentation": {"_cls": "Segmentation", "mask_path": mask},
        "confidence_map": {"_cls": "Heatmap", "map_path": heat, "range": [0.0, 255.0]},
    }
    files = {mask: encode_png(classes.table()[item.label]), heat: encode_png(item.confidence)}
    return Pieces(files, {picture: item.image}, row)


def closing(rows: Rows, classes: Classes) -> Iterator[tuple[str, Texts]]:
    """See Format."""
    targets = {str(number): name for number, name in classes.numbered.items()}
    yield METADATA, iter([to_json({"media_type": "image", "info": {TARGETS: targets}})])
    yield SAMPLES, _samples(json.dumps(row) for row in rows())


def masks(folder: Path, classes: Classes) -> Iterator[tuple[str, Mask]]:
    """See Format."""
    with expected(folder / SAMPLES, EXPORT):
        samples = (read_json(folder / SAMPLES) or {}).get("samples")
    if samples is None:
        raise InputError(f"{folder / SAMPLES}: no list of samples; expected {EXPORT}")
    with expected(folder / METADATA, EXPORT):
        info = (read_json(folder / METADATA) or {}).get("info") or {}
        names = {int(key): str(name) for key, name in (info.get(TARGETS) or classes.numbered).items() if str(key).isdecimal()}
    for sample in samples:
        with expected(folder / SAMPLES, EXPORT):
            read = [
                (Path(sample["filepath"]).stem, partial(_mask, folder / path, names, classes)) for path in _mask_paths(sample)
            ]
        yield from read


def _samples(lines: Iterator[str]) -> Texts:
    yield '{"samples": '
    yield from json_list(lines)
    yield "}\n"


def _mask_paths(sample: dict[str, Any]) -> list[str]:
    """The path of the sample's first segmentation, if it has one on disk."""
    fields = [value for value in sample.values() if isinstance(value, dict) and value.get("_cls") == "Segmentation"]
    return [field["mask_path"] for field in fields if field.get("mask_path")][:1]


def _mask(path: Path, names: dict[int, str], classes: Classes) -> NDArray[np.uint8]:
    return np.asarray(train_id_table(names, classes, path=path)[read_ids(path)], dtype=np.uint8)
