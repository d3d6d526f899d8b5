"""The page's pictures as data: URIs: photographs as JPEG, labels as palette PNG. Never imports torch.

Held-out labels are shown beside the predictions; nothing is computed from them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import matplotlib
import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import ClassList
from selfsyn.config import DataFolder, HeldOut, RunConfig, Source
from selfsyn.corrections import corrected_store
from selfsyn.data.adapted import ADAPTED
from selfsyn.data.frames import LabelledFrame, dataset_of, layout_named
from selfsyn.data.mixing import prefix
from selfsyn.data.sample import evenly_spaced
from selfsyn.images import encode_jpeg, encode_label_png, encode_palette_png, read_ids, read_image, resize_image, resize_label
from selfsyn.layout import Layout
from selfsyn.report.collect import Run

T = TypeVar("T")

PICTURES: Final = 6  # in each gallery
LARGEST = 360  # pixels across; smaller pictures stay as they are
SHEET = 1400  # pixels across of the adapter's sample sheet
QUALITY = 85
CONFIDENCE_COLOURS: Final = (matplotlib.colormaps["viridis"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


@dataclass(frozen=True)
class Picture:
    """An image of the page. what: 'photo' or 'label'; a browser enlarges labels without smoothing."""

    uri: str
    width: int
    height: int
    what: str


@dataclass(frozen=True)
class Gallery:
    """Rows of pictures below column names; a row is (frame name, one picture for each column)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Picture, ...]], ...]


Column = Callable[[str], Picture]


def adapted_gallery(run: Run) -> Gallery | None:
    """Synthetic frames, their adapted versions and their labels; None while `adapt` is unfinished."""
    if not run.has(run.layout.adapted):
        return None
    images = {"synthetic": images_of(run, run.config.synthetic), "adapted": ADAPTED.find_images(run.layout.adapted, "")}
    labels = ADAPTED.find_labels(run.layout.adapted, "")
    columns: dict[str, Column] = {
        title: lambda name, found=found: photo(found[name])  # type: ignore[misc]
        for title, found in images.items()
    }
    columns["its label"] = lambda name: label(read_ids(labels[name]), run.config.class_list)
    return _gallery(_spread(set(labels).intersection(*images.values())), columns)


def sample_sheet(run: Run) -> Picture | None:
    """The adapter's samples.png made smaller, or None."""
    path = run.layout.adapter / "samples.png"
    return photo(path, largest=SHEET) if path.exists() else None


def pseudo_label_gallery(run: Run) -> Gallery | None:
    """Real images, their pseudo-labels as each round's training reads them, and the confidence of the last round."""
    if not run.stores:
        return None
    images = images_of(run, run.config.real)
    columns: dict[str, Column] = {"real image": lambda name: photo(images[name])}
    for round_ in run.stores:
        columns[f"pseudo-label, round {round_}"] = _pseudo_label_column(run, round_)
    last = max(run.stores)
    columns[f"confidence, round {last}"] = lambda name: confidence(run.stores[last].maps(name)[1])
    names = set(images).intersection(*(store.names for store in run.stores.values()))
    return _gallery(_spread(names), columns)


def held_out_gallery(run: Run) -> Gallery | None:
    """Held-out images with their ground truth and each stage's prediction; None without evaluated stages."""
    if run.config.held_out is None or not run.scores:
        return None
    predictions = {score.stage.title: run.layout.evaluation(score.stage) / "pictures" for score in run.scores}
    return prediction_gallery(run.layout, run.config, predictions=predictions)


def prediction_gallery(layout: Layout, config: RunConfig, *, predictions: Mapping[str, Path]) -> Gallery | None:
    """Held-out images with their ground truth and a column for each folder of predictions (NAME.png, train ids)."""
    held_out, classes = config.held_out, config.class_list
    assert held_out is not None  # without it there are no predictions
    images, truth = found_images(layout, held_out), _truth(layout, held_out, classes)
    columns: dict[str, Column] = {
        "held-out image": lambda name: photo(images[name]),
        "ground truth": lambda name: label(truth(name), classes),
    }
    names = set(images)
    for title, folder in predictions.items():
        predicted = {path.stem: path for path in folder.glob("[!.]*.png")}
        columns[title] = lambda name, predicted=predicted: label(read_ids(predicted[name]), classes)  # type: ignore[misc]
        names &= predicted.keys()
    return _gallery(_spread(names), columns)


def photo(path: Path, *, largest: int = LARGEST) -> Picture:
    """The image file at `path`, at most `largest` pixels across, as JPEG."""
    image = read_image(path)
    image = resize_image(image, size=size_within(image, largest))
    return picture_of(encode_jpeg(image, quality=QUALITY), image, media="image/jpeg", what="photo")


def label(train_ids: NDArray[np.uint8], classes: ClassList) -> Picture:
    """(H, W) train ids in the colours of the classes, IGNORE black."""
    small = resize_label(train_ids, size=size_within(train_ids, LARGEST))
    return picture_of(encode_label_png(small, classes), small, media="image/png", what="label")


def confidence(grey: NDArray[np.uint8]) -> Picture:
    """(H, W) confidence 0..255, dark blue to yellow."""
    small = resize_label(grey, size=size_within(grey, LARGEST))
    return picture_of(encode_palette_png(small, palette=CONFIDENCE_COLOURS), small, media="image/png", what="label")


def _spread(names: Iterable[str]) -> list[str]:
    return evenly_spaced(sorted(names), count=PICTURES)


def _gallery(names: Sequence[str], columns: dict[str, Column]) -> Gallery | None:
    rows = tuple((name, tuple(draw(name) for draw in columns.values())) for name in names)
    return Gallery(tuple(columns), rows) if rows else None


def images_of(run: Run, sources: Sequence[Source]) -> dict[str, Path]:
    """{frame name: image file} of the sources of a role, as far as the files exist."""
    return {prefix(source, sources) + name: path for source in sources for name, path in found_images(run.layout, source).items()}


def found_images(layout: Layout, folder: DataFolder) -> dict[str, Path]:
    """{frame name in its data set: image file}, as far as the files exist."""
    return layout_named(folder.layout).find_images(layout.resolve(folder.root), folder.split)


def _truth(layout: Layout, held_out: HeldOut, classes: ClassList) -> Callable[[str], NDArray[np.uint8]]:
    kind = dataset_of(held_out, classes)
    images, labels = found_images(layout, held_out), kind.find_labels(layout.resolve(held_out.root), held_out.split)
    return lambda name: LabelledFrame(name, images[name], labels[name], kind).read_label()


def _pseudo_label_column(run: Run, round_: int) -> Column:
    classes = run.config.class_list
    store, portion = corrected_store(run.layout, round_, classes), run.config.rounds.kept_fraction_of(round_)
    return lambda name: label(store.read(name, portion=portion), classes)


def size_within(array: NDArray[np.uint8], largest: int) -> tuple[int, int]:
    """-> (width, height) of an array (H, W, ...) that is made at most `largest` pixels wide."""
    height, width = array.shape[:2]
    scale = min(1.0, largest / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def picture_of(data: bytes, array: NDArray[np.uint8], *, media: str, what: str) -> Picture:
    """The picture of `array` (H, W, ...), encoded as `data` of a media type."""
    height, width = array.shape[:2]
    return Picture(f"data:{media};base64,{base64.b64encode(data).decode()}", width, height, what)
