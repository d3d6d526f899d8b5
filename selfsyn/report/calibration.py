"""Charts of calibration (from `evaluate`) and of agreement between rounds (without held-out labels). Never imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from selfsyn.report.charts import Bars, Chart, class_values, grouped_bars, panel_grid
from selfsyn.report.collect import Run, Score
from selfsyn.report.scoreboard import ABSENT
from selfsyn.report.svg import COLOUR, STYLE, round_colour, stage_colour, to_svg
from selfsyn.rounds import COMPARED, Change, change
from selfsyn.stage import ORACLE


def trust(run: Run) -> Iterator[Chart]:
    """The charts for which the run has data."""
    scores = [score for score in run.scores if "calibration" in score.metrics]  # evaluations of early versions have none
    if scores:
        yield _reliability(scores, last_round=run.last_round)
        yield _class_errors(scores, last_round=run.last_round)
        yield _coverage(scores[-1] if scores[-1].stage != ORACLE or len(scores) == 1 else scores[-2])
    changes = changes_of(run)
    if changes:
        yield _agreement(changes, last_round=run.last_round, names=run.config.class_list.names)


def changes_of(run: Run) -> dict[int, Change]:
    """{round: change of the labels since the round before}."""
    return {round_: change(run.stores[round_ - 1], store) for round_, store in run.stores.items() if round_ - 1 in run.stores}


def _reliability(scores: list[Score], *, last_round: int) -> Chart:
    """A panel for each stage: accuracy against confidence, with dot areas by pixels, and the diagonal of perfect calibration."""
    with matplotlib.rc_context(STYLE):
        figure, grid = panel_grid(len(scores), columns=min(5, len(scores)), height=2.4)
        for axes, score in zip(grid, scores, strict=True):
            found = score.metrics["calibration"]
            axes.set_title(f"{score.stage.title}: error {100 * found['ece']:.1f} %")
            _reliability_panel(axes, found["reliability"], colour=stage_colour(score.stage, last_round=last_round))
        svg = to_svg(figure, name="reliability")
    caption = (
        "Held-out images. Each dot is a range of confidence; its area is the share of the pixels. Below the dashed line the"
        " teacher is overconfident. Error: expected calibration error, the mean distance from the line over pixels."
    )
    return Chart("Reliability: does confidence match accuracy?", svg, caption)


def _reliability_panel(axes: Axes, rows: list[Mapping[str, Any]], *, colour: str) -> None:
    filled = [row for row in rows if row["pixels"]]
    pixels = np.array([row["pixels"] for row in filled], np.float64)
    sure, right = ([row[key] for row in filled] for key in ("confidence", "accuracy"))
    axes.plot([0, 1], [0, 1], color=COLOUR["muted"], linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(sure, right, color=colour, linewidth=0.8)
    axes.scatter(sure, right, s=6 + 160 * pixels / pixels.sum(), color=colour, linewidth=0)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")


def stage_bars(scores: Sequence[Score], values: Sequence[Mapping[str, float | None]], *, last_round: int) -> list[Bars]:
    """The series of each stage, in its colour. values: of each, by class."""
    return [
        Bars(score.stage.title, stage_colour(score.stage, last_round=last_round), class_values(of_stage))
        for score, of_stage in zip(scores, values, strict=True)
    ]


def _class_errors(scores: list[Score], *, last_round: int) -> Chart:
    errors = [score.metrics["calibration"]["class_ece"] for score in scores]
    series = stage_bars(scores, errors, last_round=last_round)
    svg = grouped_bars(list(errors[0]), series, name="class-calibration", unit="calibration error", absent="never")
    caption = "Expected calibration error of the pixels predicted as each class (“never”: no such pixel). Lower is better."
    return Chart("Calibration by class", svg, caption)


def _coverage(score: Score) -> Chart:
    found = score.metrics["calibration"]
    shares: Mapping[str, Mapping[str, float] | None] = found["class_coverage"]
    colours = {"labelled": COLOUR["source"], "rightly": COLOUR["ramp-12"]}
    series = [
        Bars(key, colour, class_values({name: share[key] if share else None for name, share in shares.items()}))
        for key, colour in colours.items()
    ]
    svg = grouped_bars(list(shares), series, name="class-coverage", unit="share of its pixels", absent=ABSENT)
    caption = (
        f"{score.stage.title.capitalize()}, held-out images. Share of each true class's pixels that get a label, and the"
        f" right label, if the most confident {found['portion']:g} of each predicted class is kept."
    )
    return Chart("Coverage by class", svg, caption)


def _agreement(changes: Mapping[int, Change], *, last_round: int, names: Sequence[str]) -> Chart:
    bars = [
        Bars(f"round {round_} with round {round_ - 1}", round_colour(round_, last_round=last_round), _kept(found.counts))
        for round_, found in changes.items()
    ]
    svg = grouped_bars(names, bars, name="round-agreement", unit="share that stays", absent="none")
    overall = ", ".join(f"{found.agreement:.1%} round {round_} with round {round_ - 1}" for round_, found in changes.items())
    confidences = ", ".join(f"{found.confidence[1]:.3f} in round {round_}" for round_, found in changes.items())
    drifts = ", ".join(f"{found.drift:.1%} in round {round_}" for round_, found in changes.items())
    last, changed = max(changes), 1 - changes[max(changes)].agreement
    caption = (
        f"Share of the pixels of each class in one round's labels that have the same class in the next round's, in at most"
        f" {COMPARED} real images, at any confidence. All pixels: {overall}."
        f" Round {last} changed {changed:.1%} of the labels: another round would change about as many, or fewer. Agreement is not"
        f" accuracy: both may be wrong. Mean confidence: {confidences}. Drift of the class shares: {drifts}."
    )
    return Chart("Agreement with the previous round's labels", svg, caption)


def _kept(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    total = counts.sum(axis=1)
    return np.where(total > 0, np.diag(counts) / np.maximum(total, 1), np.nan)
