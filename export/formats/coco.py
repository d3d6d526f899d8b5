"""COCO: annotations/instances_default.json with one run-length mask a class and image, `score` its mean confidence; images/."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.formats.item import Classes, Labelled, Mask, Pieces, Row, Rows, Texts, expected, json_list, train_id_of
from export.formats.polygons import polygon_mask
from export.formats.rle import coco_counts, coco_mask
from selfsyn.errors import InputError
from selfsyn.files import read_json
from selfsyn.labels import IGNORE

COLOURED: Final = False


def pieces(item: Labelled, classes: Classes) -> Pieces:
    """See Format."""
    width, height = item.size
    name = f"{item.name}{item.image.suffix}"
    segments = [_segment(*segment) for segment in item.segments()]
    row = {"image": {"file_name": name, "width": width, "height": height}, "segments": segments}
    return Pieces(links={f"images/{name}": item.image}, row=row)


def closing(rows: Rows, classes: Classes) -> Iterator[tuple[str, Texts]]:
    """See Format. Two passes over the rows, so that no list of all annotations is held."""
    yield "annotations/instances_default.json", _document(rows, classes)


def masks(folder: Path, classes: Classes) -> Iterator[tuple[str, Mask]]:
    """See Format. Later annotations of an image cover earlier ones."""
    files = sorted((folder / "annotations").glob("*.json")) or sorted(folder.glob("*.json"))
    if not files:
        raise InputError(f"{folder}: no annotations/*.json; expected COCO's annotations")
    for path in files:
        found = read_json(path) or {}
        if not isinstance(found, dict) or not {"images", "annotations", "categories"} <= found.keys():
            raise InputError(f"{path}: no images, annotations and categories; expected COCO's annotations")
        with expected(path, "COCO's annotations"):
            names = {one["id"]: one["name"] for one in found["categories"]}
            of_image: dict[int, list[Row]] = defaultdict(list)
            for one in found["annotations"]:
                of_image[one["image_id"]].append(one)
            read = [
                (Path(image["file_name"]).stem, partial(_mask, image, of_image[image["id"]], names, classes, path))
                for image in found["images"]
            ]
        yield from read


def _segment(train_id: int, pixels: NDArray[np.bool_], score: float) -> Row:
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
    area, size = int(np.count_nonzero(pixels)), list(pixels.shape)
    shape = {"size": size, "counts": coco_counts(pixels)}
    return {"category_id": train_id + 1, "segmentation": shape, "area": area, "bbox": box, "iscrowd": 0, "score": score}


def _document(rows: Rows, classes: Classes) -> Texts:
    categories = [{"id": number, "name": name, "supercategory": ""} for number, name in classes.numbered.items()]
    yield f'{{"categories": {json.dumps(categories)},\n"images": '
    yield from json_list(json.dumps({"id": number, **row["image"]}) for number, row in enumerate(rows(), start=1))
    yield ',\n"annotations": '
    numbers = count(1)
    yield from json_list(
        json.dumps({"id": next(numbers), "image_id": number, **segment})
        for number, row in enumerate(rows(), start=1)
        for segment in row["segments"]
    )
    yield "}\n"


def _mask(image: Row, annotations: list[Row], names: dict[int, str], classes: Classes, path: Path) -> NDArray[np.uint8]:
    with expected(path, "COCO's annotations"):
        label = np.full((image["height"], image["width"]), IGNORE, dtype=np.uint8)
    for one in annotations:
        with expected(path, "COCO's annotations", f"annotation {one.get('id')} of {image['file_name']}"):
            _paint(label, one.get("segmentation"), train_id_of(names[one["category_id"]], classes, path=path))
    return label


def _paint(label: NDArray[np.uint8], shape: Any, train_id: int) -> None:
    height, width = label.shape
    if isinstance(shape, dict):
        label[coco_mask(shape["counts"], height=height, width=width)] = train_id
    elif shape:
        for ring in shape:
            label[polygon_mask(ring, height=height, width=width)] = train_id
    else:
        raise ValueError("a box without a shape; expected a polygon or run lengths")
