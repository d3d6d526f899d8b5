"""Reads an export with the library of the tool that it is for, and compares it with the label store: see exports.py.

    python benchmarks/exports_read.py FORMAT FOLDER TRUTH

Runs in an environment with the tool's library (datumaro, pycocotools, label-studio-sdk, fiftyone), numpy and Pillow, not with
ours. TRUTH: NAME.png, train ids; NAME.confidence.png; classes.json.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

logging.disable()

Found = tuple[str, np.ndarray, object]  # name, train ids, what came back of the confidence: a map, {class: mean}, or None


def main(kind: str, folder: Path, truth: Path) -> None:
    """Print what was compared; SystemExit at the first difference."""
    classes = json.loads((truth / "classes.json").read_text())
    names, pixels, told = set(), 0, ""
    for name, label, confidence in READERS[kind](folder, classes):
        true = np.asarray(Image.open(truth / f"{name}.png"))
        if not np.array_equal(label, true):
            raise SystemExit(f"{kind}: {name}: {np.count_nonzero(label != true)} pixels differ")
        told = compared(confidence, true, np.asarray(Image.open(truth / f"{name}.confidence.png")), classes, name)
        names.add(name)
        pixels += true.size
    if names != {path.stem for path in truth.glob("*.png") if not path.stem.endswith(".confidence")}:
        raise SystemExit(f"{kind}: {len(names)} images came back")
    print(f"{kind:<14}read back: {len(names)} images, {pixels:,} pixels the same; confidence: {told}")


def compared(found: object, label: np.ndarray, confidence: np.ndarray, classes: list[str], name: str) -> str:
    """What kind of confidence came back; SystemExit when it is another."""
    if found is None:
        return "no place for it"
    if isinstance(found, np.ndarray):
        if not np.array_equal(found, confidence):
            raise SystemExit(f"{name}: the confidence map differs")
        return "every pixel"
    expected = {classes[k]: confidence[label == k].mean() / 255 for k in np.unique(label) if k != 255}
    assert isinstance(found, dict)
    if found.keys() != expected.keys() or any(abs(found[k] - expected[k]) > 1e-4 for k in expected):
        raise SystemExit(f"{name}: scores {found}; expected {expected}")
    return "the mean of each class"


def painted(masks: list[tuple[np.ndarray, int]], shape: tuple[int, int]) -> np.ndarray:
    """Masks and train ids -> train ids, 255 elsewhere."""
    label = np.full(shape, 255, dtype=np.uint8)
    for mask, train_id in masks:
        label[mask.astype(bool)] = train_id
    return label


def by_datumaro(folder: Path, classes: list[str], kind: str) -> Iterator[Found]:
    """With Datumaro's importer of that format."""
    from datumaro.components.annotation import AnnotationType
    from datumaro.components.dataset import Dataset

    found = Dataset.import_from(str(folder), kind)
    labels = found.categories()[AnnotationType.label]
    for item in found:
        masks = [(a.image, classes.index(labels[a.label].name), a.attributes.get("score")) for a in item.annotations
                 if a.type == AnnotationType.mask and labels[a.label].name != "background"]  # fmt: skip
        label = painted([mask[:2] for mask in masks], masks[0][0].shape)
        scores = {classes[train_id]: score for _, train_id, score in masks}
        yield item.id, label, scores if kind == "coco" else None


def datumaro(folder: Path, classes: list[str]) -> Iterator[Found]:
    """Common semantic segmentation; its confidence lies beside it."""
    for name, label, _ in by_datumaro(folder, classes, "common_semantic_segmentation"):
        yield name, label, np.asarray(Image.open(folder / "confidence" / f"{name}.png"))


def cvat(folder: Path, classes: list[str]) -> Iterator[Found]:
    """CVAT reads this format with Datumaro's importer of VOC."""
    yield from by_datumaro(folder, classes, "voc_segmentation")


def coco(folder: Path, classes: list[str]) -> Iterator[Found]:
    """By pycocotools, and by Datumaro where it is installed too."""
    from pycocotools.coco import COCO

    data = COCO(str(folder / "annotations" / "instances_default.json"))
    for image in data.loadImgs(data.getImgIds()):
        parts = data.loadAnns(data.getAnnIds(imgIds=image["id"]))
        names = [data.loadCats(part["category_id"])[0]["name"] for part in parts]
        masks = [(data.annToMask(part), classes.index(name)) for part, name in zip(parts, names, strict=True)]
        if any(part["area"] != mask.sum() for part, (mask, _) in zip(parts, masks, strict=True)):
            raise SystemExit(f"{image['file_name']}: an area differs")
        scores = {name: part["score"] for part, name in zip(parts, names, strict=True)}
        yield Path(image["file_name"]).stem, painted(masks, (image["height"], image["width"])), scores
    yield from by_datumaro(folder, classes, "coco")


def label_studio(folder: Path, classes: list[str]) -> Iterator[Found]:
    """By the brush decoder of label-studio-sdk's converter."""
    from label_studio_sdk.converter.brush import decode_rle
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface((folder / "label_config.xml").read_text())
    for path in sorted(folder.glob("tasks-*.json")):
        for task in json.loads(path.read_text()):
            prediction = task["predictions"][0]
            if not interface.validate_prediction(prediction):
                raise SystemExit(f"{path}: a prediction that the label configuration refuses")
            parts = prediction["result"]
            shape = parts[0]["original_height"], parts[0]["original_width"]
            masks = [(decode_rle(p["value"]["rle"]).reshape(*shape, 4)[..., 3], p["value"]["brushlabels"][0]) for p in parts]
            scores = {name: part["score"] for part, (_, name) in zip(parts, masks, strict=True)}
            yield Path(task["data"]["image"]).stem, painted([(m, classes.index(n)) for m, n in masks], shape), scores


def fiftyone(folder: Path, classes: list[str]) -> Iterator[Found]:
    """By FiftyOne's importer and its labels; no database is needed."""
    from fiftyone.utils.data.importers import LegacyFiftyOneDatasetImporter

    importer = LegacyFiftyOneDatasetImporter(dataset_dir=str(folder))
    with importer:
        targets = importer.get_dataset_info()["default_mask_targets"]
        for sample in importer:
            mask = sample["segmentation"].get_mask()
            masks = [(mask == int(number), classes.index(name)) for number, name in targets.items()]
            yield Path(sample.filepath).stem, painted(masks, mask.shape), sample["confidence_map"].get_map()


def cityscapes(folder: Path, classes: list[str]) -> Iterator[Found]:
    """By the table of cityscapesScripts, label id to train id."""
    from cityscapesscripts.helpers.labels import id2label

    for path in sorted(folder.glob("gtFine/*/*/*_gtFine_labelIds.png")):
        ids = np.asarray(Image.open(path))
        table = np.array([id2label[number].trainId % 256 if number in id2label else 255 for number in range(256)], np.uint8)
        name = path.name.removesuffix("_gtFine_labelIds.png")
        yield (
            name,
            table[ids],
            np.asarray(Image.open(folder / "confidence" / "train" / path.parent.name / f"{name}_confidence.png")),
        )


READERS = {
    "datumaro": datumaro,
    "cvat": cvat,
    "coco": coco,
    "label-studio": label_studio,
    "fiftyone": fiftyone,
    "cityscapes": cityscapes,
}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
