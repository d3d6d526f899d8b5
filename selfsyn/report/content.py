"""Whether an adapter keeps what its images show: what its frozen net sees in them, before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from selfsyn.labels import CLASSES
from selfsyn.report.charts import Bars, Chart, Curve, Panel, curve_row, grouped_bars
from selfsyn.report.collect import Run, read_curves
from selfsyn.report.svg import COLOUR
from selfsyn.report.verdict import percent

ENOUGH = 0.9  # of the agreement on source images, which adapted ones must keep
LINES = {"agreement_source": ("source", COLOUR["source"]), "agreement_adapted": ("adapted", COLOUR["ramp-12"])}


def content_charts(run: Run) -> list[Chart]:
    """The agreement over the fit of the adapter, and the class shares at its end; what the fit has not written is left out."""
    drawn = (_agreement(run), _shares(run)) if run.has(run.layout.adapter) else ()
    return [chart for chart in drawn if chart is not None]


def hallucination(run: Run) -> str | None:
    """A warning where the source-only net recognises too little of the adapted images; None otherwise."""
    last = _last_row(run) if run.has(run.layout.adapter) else {}
    if "agreement_adapted" not in last or last["agreement_adapted"] >= ENOUGH * last["agreement_source"]:
        return None
    return (
        "The adapter changes what its images show: the source-only net is right on"
        f" {percent(last['agreement_source'])} of the pixels of source images and on {percent(last['agreement_adapted'])} of"
        f" adapted ones, less than {percent(ENOUGH)} of that. Labels no longer fit their images: raise adapter.semantic, or fit"
        " for fewer steps."
    )


def _agreement(run: Run) -> Chart | None:
    curves = read_curves(run.layout.adapter / "history.jsonl")
    lines = tuple(Curve(*LINES[key], *curves[key]) for key in LINES if key in curves)
    if not lines:
        return None
    panels = [Panel("pixels that the source-only net gets right", lines, from_zero=False)]
    if "moved" in curves:
        panels.append(Panel("pixels that it gives another class", (Curve("", COLOUR["ramp-12"], *curves["moved"]),)))
    caption = (
        "Shares, on synthetic frames as they are (source) and adapted: an adapted image must still show what its label says."
        " The right one is the least share of pixels that must have changed class for the class shares to change as they did."
    )
    return Chart("Does the adapter keep the content?", curve_row(panels, name="agreement", columns=2), caption)


def _shares(run: Run) -> Chart | None:
    last = _last_row(run)
    if "shares_adapted" not in last:
        return None
    series = [
        Bars(name, COLOUR[colour], np.array([last[f"shares_{name}"].get(class_, np.nan) for class_ in CLASSES]))
        for name, colour in (("source", "source"), ("adapted", "ramp-12"))
    ]
    svg = grouped_bars(CLASSES, series, name="content", unit="share of the pixels")
    caption = (
        f"At step {last['step']}, on the same synthetic frames. A class that grows is painted in where its label is not:"
        " trees in the sky are the failure that such adapters are known for."
    )
    return Chart("What the source-only net sees in source and in adapted images", svg, caption)


def _last_row(run: Run) -> Mapping[str, Any]:
    """The last row of a fit that looked at the content, or an empty one."""
    path = run.layout.adapter / "history.jsonl"
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return next((row for row in reversed(rows) if "agreement_adapted" in row), {})
