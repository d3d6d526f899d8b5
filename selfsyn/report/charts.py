"""The charts of the pages: numbers in, <svg> text out. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from selfsyn.report.svg import COLOUR, STYLE, to_svg

WIDTH = 11.0  # inches; the page scales it to its own width
POINTS = 250  # of a curve, at most
GRIDS_A_ROW = 4
FEW = 12  # curves of so few points have markers


@dataclass(frozen=True)
class Bars:
    """One series of a grouped chart: its name, its stand-in colour, a value for each class (NaN: none)."""

    name: str
    colour: str
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One line: its name, its stand-in colour, (N,) x and (N,) y."""

    name: str
    colour: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True)
class Bound:
    """A dashed line across the panel named `panel`."""

    panel: str
    name: str
    value: float
    colour: str


@dataclass(frozen=True)
class Grid:
    """A class-by-class table: its title and (K, K) shares in 0..1 (NaN: none)."""

    title: str
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Chart:
    """A chart with its title and the caption below it."""

    title: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Panel:
    """A small chart in a row. from_zero: the scale begins at 0; otherwise small differences are visible."""

    title: str
    curves: tuple[Curve, ...]
    from_zero: bool = True


def grouped_bars(
    classes: Sequence[str], series: Sequence[Bars], *, name: str, unit: str, absent: str = "", lines: Sequence[float] = ()
) -> str:
    """Bars by class, one for each series. A class without values shows the word `absent`; `lines` are dashed lines across.

    Values are shares in 0..1.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        axes = figure.add_subplot()
        width = 0.8 / len(series)
        places = np.arange(len(classes))
        for index, bars in enumerate(series):
            offset = (index - (len(series) - 1) / 2) * width
            axes.bar(places + offset, np.nan_to_num(bars.values), width * 0.92, color=bars.colour, label=bars.name)
        for height in lines:
            axes.axhline(height, color=COLOUR["ink"], linewidth=0.8, linestyle=(0, (4, 3)))
        _mark_absent(axes, series, absent)
        axes.set_ylim(0, 1)
        axes.set_ylabel(unit)
        _class_axis(axes, classes)
        _legend_above(axes, len(series))
        return to_svg(figure, name=name)


def score_by_round(points: Mapping[str, Sequence[tuple[str, float]]], *, bounds: Sequence[Bound], name: str) -> str:
    """One panel for each score: its title -> (round's name, score) in the order of the rounds."""
    with matplotlib.rc_context(STYLE):
        figure, grid = panel_grid(len(points), columns=len(points), height=2.5)
        for axes, (title, values) in zip(grid, points.items(), strict=True):
            axes.set_title(title)
            _rounds_line(axes, values)
            for bound in bounds:
                if bound.panel == title:
                    _bound_line(axes, bound)
        return to_svg(figure, name=name)


def curve_row(panels: Sequence[Panel], *, name: str, columns: int, x_label: str = "step") -> str:
    """Small charts beside each other, `columns` in a row, each with its own scale; one legend when lines have names."""
    with matplotlib.rc_context(STYLE):
        figure, grid = panel_grid(len(panels), columns=columns, height=2.1, margin=0.1)
        for axes, panel in zip(grid, panels, strict=True):
            _curve_panel(axes, panel, x_label)
        return to_svg(figure, name=name)


def class_dots(classes: Sequence[str], series: Sequence[Bars], *, name: str, unit: str, percent: bool = False) -> str:
    """Values by class on a logarithmic scale, as dots because it has no zero for bars. 0 and NaN have no dot.

    percent: values are shares in 0..1.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        axes = figure.add_subplot()
        for index, dots in enumerate(series):
            offset = (index - (len(series) - 1) / 2) * min(0.14, 0.7 / len(series))
            values = np.where(dots.values > 0, dots.values, np.nan)
            axes.plot(np.arange(len(classes)) + offset, values, "o", markersize=5, color=dots.colour, label=dots.name)
        axes.set_yscale("log")
        if percent:
            axes.set_ylim(top=1)
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %" if percent else f"{value:g}"))
        axes.set_ylabel(unit)
        axes.grid(axis="x", linewidth=0.4)
        _class_axis(axes, classes)
        _legend_above(axes, len(series))
        return to_svg(figure, name=name)


def class_grids(classes: Sequence[str], grids: Sequence[Grid], *, name: str) -> str:
    """Class-by-class shares in 0..1, a grid for each data set: squares whose area is the share."""
    with matplotlib.rc_context(STYLE):
        figure, cells = panel_grid(len(grids), columns=GRIDS_A_ROW, height=WIDTH / GRIDS_A_ROW + 0.6)
        for axes, grid in zip(cells, grids, strict=True):
            _class_grid(axes, classes, grid)
        return to_svg(figure, name=name)


def panel_grid(count: int, *, columns: int, height: float, margin: float = 0.0) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, `columns` in a row. height: inches of a row.  margin: inches more of the whole figure."""
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, height * rows + margin), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in panels[count:]:
        axes.axis("off")
    return figure, panels[:count]


def class_values(by_class: Mapping[str, float | None]) -> NDArray[np.float64]:
    """The values in their order, NaN for None."""
    return np.array([np.nan if value is None else value for value in by_class.values()])


def thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """At most POINTS points of a curve, each the mean of an equal number of neighbours."""
    take = -(-len(x) // POINTS)
    starts = np.arange(0, len(x), take)
    counts = np.diff(np.append(starts, len(x)))
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts


def _class_axis(axes: Axes, classes: Sequence[str]) -> None:
    axes.set_xticks(np.arange(len(classes)), list(classes), rotation=35, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0, labelcolor=COLOUR["ink"])
    axes.set_xlim(-0.6, len(classes) - 0.4)


def _class_grid(axes: Axes, classes: Sequence[str], grid: Grid) -> None:
    for (row, column), share in np.ndenumerate(np.nan_to_num(grid.values)):
        side = 0.9 * float(np.sqrt(share))
        if side > 0:
            square = (column - side / 2, row - side / 2)
            axes.add_patch(Rectangle(square, side, side, color=COLOUR["ramp-12" if row != column else "muted"], linewidth=0))
    places = np.arange(len(classes))
    axes.set_title(grid.title)
    axes.set_xticks(places, list(classes), rotation=90, fontsize=7)
    axes.set_yticks(places, list(classes), fontsize=7)
    axes.tick_params(length=0, labelcolor=COLOUR["ink"])
    axes.set_xlim(-0.6, len(classes) - 0.4)
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.set_aspect("equal")
    axes.grid(False)


def _legend_above(axes: Axes, columns: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=columns, handlelength=0.9, columnspacing=1.6, borderpad=0)


def _mark_absent(axes: Axes, series: Sequence[Bars], word: str) -> None:
    nowhere = np.all([np.isnan(bars.values) for bars in series], axis=0)
    for place in np.flatnonzero(nowhere) if word else ():
        axes.text(float(place), 0.02, word, rotation=90, ha="center", va="bottom", color=COLOUR["muted"], fontsize=7.5)


def _rounds_line(axes: Axes, values: Sequence[tuple[str, float]]) -> None:
    places, scores = np.arange(len(values)), [value for _, value in values]
    axes.plot(places, scores, "o-", color=COLOUR["ramp-12"], linewidth=1.6, markersize=5)
    for place, score in zip(places, scores, strict=True):
        axes.annotate(f"{score:.3f}", (place, score), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    axes.set_xticks(places, [stage for stage, _ in values])
    axes.set_xlim(-0.4, len(values) - 0.2)
    axes.margins(y=0.22)


def _bound_line(axes: Axes, bound: Bound) -> None:
    axes.axhline(bound.value, color=bound.colour, linewidth=1.3, linestyle=(0, (5, 3)))
    axes.annotate(
        f"{bound.name} {bound.value:.3f}", (1, bound.value), (-2, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", color=COLOUR["muted"], fontsize=8,
    )  # fmt: skip


def _curve_panel(axes: Axes, panel: Panel, x_label: str) -> None:
    for curve in panel.curves:
        marker = "o" if len(curve.x) <= FEW else None
        axes.plot(
            *thinned(curve.x, curve.y), color=curve.colour, linewidth=1.3, marker=marker, markersize=4, label=curve.name or None
        )
    axes.set_title(panel.title)
    axes.set_xlabel(x_label)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if panel.from_zero:
        low, high = axes.dataLim.intervaly
        if low or high:  # a curve of zeros keeps its default scale
            axes.set_ylim(min(0.0, 1.05 * low), max(0.0, 1.05 * high))
    if len(panel.curves) > 1 and all(curve.name for curve in panel.curves):
        axes.legend(handlelength=1.0, borderpad=0, labelspacing=0.25)
