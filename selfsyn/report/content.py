"""Whether an adapter keeps the content of images: the frozen net's predictions before and after adaptation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from selfsyn.report.charts import Bars, Chart, Curve, Panel, curve_row, grouped_bars
from selfsyn.report.collect import Run, read_curves
from selfsyn.report.svg import COLOUR
from selfsyn.report.verdict import percent

ENOUGH = 0.9  # of the agreement on source images, which adapted ones must keep
LINES = {"agreement_source": ("source", COLOUR["source"]), "agreement_adapted": ("adapted", COLOUR["ramp-12"])}


def content_charts(run: Run) -> list[Chart]:
    """Agreement during the adapter's fit, and class shares at its end; a chart without data is left out."""
    drawn = (_agreement(run), _shares(run)) if run.has(run.layout.adapter) else ()
    return [chart for chart in drawn if chart is not None]


def hallucination(run: Run) -> str | None:
    """A warning if the source-only net recognises the adapted images badly; None otherwise."""
    last = _last_row(run) if run.has(run.layout.adapter) else {}
    if "agreement_adapted" not in last or last["agreement_adapted"] >= ENOUGH * last["agreement_source"]:
        return None
    return (
        "The adapter changes what its images show: the source-only net is right on"
        f" {percent(last['agreement_source'])} of the pixels of source images and on {percent(last['agreement_adapted'])} of"
        f" adapted ones, less than {percent(ENOUGH)} of that. Labels no longer fit the adapted images: raise adapter.semantic, or"
        " fit for fewer steps."
    )


def _agreement(run: Run) -> Chart | None:
    curves = read_curves(run.layout.adapter / "history.jsonl")
    lines = tuple(Curve(*LINES[key], *curves[key]) for key in LINES if key in curves)
    if not lines:
        return None
    panels = [Panel("pixels right by the source-only net", lines, from_zero=False)]
    if "moved" in curves:
        panels.append(Panel("pixels with another class", (Curve("", COLOUR["ramp-12"], *curves["moved"]),)))
    caption = (
        "Shares, on synthetic frames before (source) and after adaptation: an adapted image must still match its label. Right:"
        " the smallest share of pixels whose class must have changed, given the change of the class shares."
    )
    return Chart("Does the adapter keep the content?", curve_row(panels, name="agreement", columns=2), caption)


def _shares(run: Run) -> Chart | None:
    last = _last_row(run)
    if "shares_adapted" not in last:
        return None
    names = run.config.class_list.names
    series = [
        Bars(name, COLOUR[colour], np.array([last[f"shares_{name}"].get(class_, np.nan) for class_ in names]))
        for name, colour in (("source", "source"), ("adapted", "ramp-12"))
    ]
    svg = grouped_bars(names, series, name="content", unit="share of the pixels")
    caption = (
        f"At step {last['step']}, on the same synthetic frames. A class that grows was painted where the label has"
        " another one; trees in the sky are a known failure of such adapters."
    )
    return Chart("Predictions of the source-only net on source and adapted images", svg, caption)


def _last_row(run: Run) -> Mapping[str, Any]:
    """The last row of a fit's history with content figures, or {}."""
    path = run.layout.adapter / "history.jsonl"
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return next((row for row in reversed(rows) if "agreement_adapted" in row), {})
