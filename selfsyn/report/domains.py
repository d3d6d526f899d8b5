"""Charts that compare the data sets of a run: class frequencies, object sizes, class co-occurrence and colours. They show class
imbalance and the domain gap before training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import ClassList
from selfsyn.data.dataset import DataSet
from selfsyn.data.sample import evenly_spaced
from selfsyn.data.statistics import NO_COLOURS, NO_LABELS, ColourStatistics, LabelStatistics, of_image, of_label, total
from selfsyn.images import UnreadableError, read_image, resize_image, resize_label, to_train_ids
from selfsyn.pseudo_labels import LabelStore
from selfsyn.report.charts import Bars, Chart, Curve, Grid, Panel, class_dots, class_grids, curve_row

COUNTED = 200  # evenly spaced frames of a data set; GTA5 has 25,000
LEVELS_A_POINT = 8  # of a colour curve


@dataclass(frozen=True)
class Domain:
    """A data set: name, stand-in colour, and statistics; None without labels or images."""

    name: str
    colour: str
    labels: LabelStatistics | None = None
    colours: ColourStatistics | None = None


def labels_of(paths: Mapping[str, Path], kind: DataSet, *, size: tuple[int, int]) -> LabelStatistics | None:
    """Statistics of label files by frame name, at `size` (width, height); None without files.

    InputError for an unreadable file, or an id that the data set does not define.
    """

    def count(path: Path) -> LabelStatistics:
        label = to_train_ids(kind.read(path), table=kind.table, known=kind.known, path=path)
        return of_label(resize_label(label, size=size), classes=len(kind.classes))

    chosen = _some(paths)
    return total(chosen, count, nothing=NO_LABELS) if chosen else None


def colours_of(paths: Mapping[str, Path], *, size: tuple[int, int]) -> ColourStatistics | None:
    """Statistics of image files by frame name, at `size`, without unreadable files; None without files."""

    def count(path: Path) -> ColourStatistics:
        try:
            return of_image(resize_image(read_image(path), size=size))
        except UnreadableError:  # other phases record or refuse it
            return NO_COLOURS

    chosen = _some(paths)
    return total(chosen, count, nothing=NO_COLOURS) if chosen else None


def pseudo_labels_of(store: LabelStore, *, size: tuple[int, int]) -> LabelStatistics | None:
    """Statistics of pseudo-labels at `size`; None without any. InputError for an unreadable file."""

    def count(name: str) -> LabelStatistics:
        return of_label(resize_label(store.maps(name)[0], size=size), classes=len(store.counts))

    chosen = evenly_spaced(store.names, count=COUNTED)
    return total(chosen, count, nothing=NO_LABELS) if chosen else None


def _some(paths: Mapping[str, Path]) -> list[Path]:
    return evenly_spaced([path for _, path in sorted(paths.items())], count=COUNTED)


def domain_charts(domains: Sequence[Domain], classes: ClassList) -> list[Chart]:
    """Class shares, object sizes, class co-occurrence and colours; a chart without data is left out."""
    labelled = [(domain, domain.labels) for domain in domains if domain.labels and domain.labels.pixels.any()]
    occurs = np.any([labels.pixels > 0 for _, labels in labelled], axis=0) if labelled else np.zeros(len(classes), bool)
    seen = Seen(occurs, tuple(name for name, there in zip(classes.names, occurs, strict=True) if there))
    drawn = (_shares(labelled, seen), _sides(labelled, seen), _together(labelled, seen), _colours(domains))
    return [chart for chart in drawn if chart is not None]


Labelled = Sequence[tuple[Domain, LabelStatistics]]


class Seen(NamedTuple):
    """The classes that occur in a data set: (K,) whether each of all classes does, and the names of those that do."""

    of_all: NDArray[np.bool_]
    names: tuple[str, ...]


def _shares(labelled: Labelled, seen: Seen) -> Chart | None:
    caption = f"Of the pixels with a class, in at most {COUNTED} labels of each data set. No dot: the class does not occur."
    return _dots(labelled, seen, lambda labels: labels.shares, "Class shares", caption, unit="share of pixels", percent=True)


def _sides(labelled: Labelled, seen: Seen) -> Chart | None:
    caption = (
        "Square root of the median segment area (segments weighted by their pixels), at the training size. A net can hardly learn"
        " objects smaller than its stride."
    )
    return _dots(labelled, seen, lambda labels: labels.sides, "Object sizes", caption, unit="pixels")


def _dots(
    labelled: Labelled,
    seen: Seen,
    value: Callable[[LabelStatistics], NDArray[np.float64]],
    title: str,
    caption: str,
    *,
    unit: str,
    percent: bool = False,
) -> Chart | None:
    if not labelled:
        return None
    series = [Bars(domain.name, domain.colour, value(labels)[seen.of_all]) for domain, labels in labelled]
    name = title.lower().replace(" ", "-")
    return Chart(title, class_dots(seen.names, series, name=name, unit=unit, percent=percent), caption)


def _together(labelled: Labelled, seen: Seen) -> Chart | None:
    if not labelled:
        return None
    grids = [Grid(domain.name, labels.given[np.ix_(seen.of_all, seen.of_all)]) for domain, labels in labelled]
    caption = (
        "Area of a square: share of the frames with the row's class that also show the column's class. An empty row: no frame"
        " has the class. Where data sets differ, a net learns context that the target does not have."
    )
    return Chart("Class co-occurrence", class_grids(seen.names, grids, name="together"), caption)


def _colours(domains: Sequence[Domain]) -> Chart | None:
    coloured = [(domain, domain.colours.levels) for domain in domains if domain.colours]
    if not coloured:
        return None
    x = np.arange(LEVELS_A_POINT / 2, 256, LEVELS_A_POINT)
    panels = [
        Panel(name, tuple(Curve(domain.name, domain.colour, x, _density(levels[channel])) for domain, levels in coloured))
        for channel, name in enumerate(("red", "green", "blue"))
    ]
    caption = f"Histogram of the levels, in percent of the pixels per {LEVELS_A_POINT} levels, over at most {COUNTED} images."
    return Chart("Colours", curve_row(panels, name="colours", columns=3, x_label="level"), caption)


def _density(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    percent: NDArray[np.float64] = 100.0 * counts.reshape(-1, LEVELS_A_POINT).sum(axis=1) / max(int(counts.sum()), 1)
    return percent
