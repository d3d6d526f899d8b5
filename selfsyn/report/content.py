"""Whether an adapter keeps the content of images: the frozen net's predictions before and after adaptation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from selfsyn.flow import frozen_stage
from selfsyn.labels import CLASSES
from selfsyn.layout import SOURCE_ONLY
from selfsyn.report.charts import Bars, Chart, Curve, Panel, curve_row, grouped_bars
from selfsyn.report.collect import Run, read_curves
from selfsyn.report.svg import COLOUR
from selfsyn.report.verdict import fitted_again, percent, stage_title

ENOUGH = 0.9  # of the agreement on source images, which adapted ones must keep
LINES = {"agreement_source": ("source", COLOUR["source"]), "agreement_adapted": ("adapted", COLOUR["ramp-12"])}


def content_charts(run: Run) -> list[Chart]:
    """For each adapter, agreement during the fit and class shares at its end; a chart without data is left out."""
    drawn = (chart for round_ in run.adapters for chart in (_agreement(run, round_), _shares(run, round_)))
    return [chart for chart in drawn if chart is not None]


def hallucination(run: Run) -> str | None:
    """A warning for each adapter whose adapted images the frozen net recognises badly; None without any."""
    return " ".join(filter(None, (_hallucinated(run, round_) for round_ in run.adapters))) or None


def _hallucinated(run: Run, round_: int) -> str | None:
    last = _last_row(run, round_)
    if "agreement_adapted" not in last or last["agreement_adapted"] >= ENOUGH * last["agreement_source"]:
        return None
    return (
        f"The adapter{fitted_again(round_)}{',' * bool(round_)} changes what its images show: {_frozen(round_)} is right on"
        f" {percent(last['agreement_source'])} of the pixels of source images and on {percent(last['agreement_adapted'])} of"
        f" adapted ones, less than {percent(ENOUGH)} of that. Labels no longer fit the adapted images: raise adapter.semantic, or"
        " fit for fewer steps."
    )


def _frozen(round_: int) -> str:
    """'the source-only net', or 'the net of round 0' for the adapter that was fitted before round 1."""
    stage = frozen_stage(round_)
    return "the source-only net" if stage == SOURCE_ONLY else f"the net of {stage_title(stage)}"


def _agreement(run: Run, round_: int) -> Chart | None:
    curves = read_curves(run.layout.adapter(round_) / "history.jsonl")
    lines = tuple(Curve(*LINES[key], *curves[key]) for key in LINES if key in curves)
    if not lines:
        return None
    panels = [Panel(f"pixels right by {_frozen(round_)}", lines, from_zero=False)]
    if "moved" in curves:
        panels.append(Panel("pixels with another class", (Curve("", COLOUR["ramp-12"], *curves["moved"]),)))
    caption = (
        "Shares, on synthetic frames before (source) and after adaptation: an adapted image must still match its label. Right:"
        " the smallest share of pixels whose class must have changed, given the change of the class shares."
    )
    caption += " Another net looks at it than at the first adapter's: fits are not compared by it." if round_ else ""
    svg = curve_row(panels, name=f"agreement{round_ or ''}", columns=2)
    return Chart(f"Does the adapter{fitted_again(round_)}{',' * bool(round_)} keep the content?", svg, caption)


def _shares(run: Run, round_: int) -> Chart | None:
    last = _last_row(run, round_)
    if "shares_adapted" not in last:
        return None
    series = [
        Bars(name, COLOUR[colour], np.array([last[f"shares_{name}"].get(class_, np.nan) for class_ in CLASSES]))
        for name, colour in (("source", "source"), ("adapted", "ramp-12"))
    ]
    svg = grouped_bars(CLASSES, series, name=f"content{round_ or ''}", unit="share of the pixels")
    caption = (
        f"At step {last['step']}, on the same synthetic frames. A class that grows was painted where the label has"
        " another one; trees in the sky are a known failure of such adapters."
    )
    return Chart(f"Predictions of {_frozen(round_)} on source and adapted images", svg, caption)


def _last_row(run: Run, round_: int) -> Mapping[str, Any]:
    """The last row of a fit's history with content figures, or {}."""
    path = run.layout.adapter(round_) / "history.jsonl"
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return next((row for row in reversed(rows) if "agreement_adapted" in row), {})
