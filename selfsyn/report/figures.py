"""The charts of the page with their captions. A chart without data is left out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsyn.config import DataFolder
from selfsyn.data.adapted import ADAPTED
from selfsyn.data.frames import dataset_of, layout_named
from selfsyn.pseudo_labels import LabelStore
from selfsyn.report.calibration import stage_bars, trust
from selfsyn.report.charts import Bars, Bound, Chart, Curve, Panel, curve_row, grouped_bars, score_by_round
from selfsyn.report.collect import Curves, Run, read_curves
from selfsyn.report.content import content_charts
from selfsyn.report.domains import Domain, colours_of, labels_of, pseudo_labels_of
from selfsyn.report.scoreboard import ABSENT
from selfsyn.report.svg import COLOUR, round_colour, stage_colour
from selfsyn.report.verdict import score_of
from selfsyn.stage import ORACLE, SOURCE_ONLY

SYNTHETIC_COLOURS = (COLOUR["source"], COLOUR["ink"], COLOUR["muted"])


def charts(run: Run) -> list[Chart]:
    """The charts for which the run has data, in the order of the page."""
    before = (_class_iou(run), _scores(run), _training(run), _adapter_losses(run))
    drawn = (*before, *content_charts(run), _coverage(run))
    return [*(chart for chart in drawn if chart is not None), *trust(run)]


def _class_iou(run: Run) -> Chart | None:
    if not run.scores:
        return None
    classes = list(run.scores[0].metrics["class_iou"])
    series = stage_bars(run.scores, [score.metrics["class_iou"] for score in run.scores], last_round=run.last_round)
    svg = grouped_bars(classes, series, name="class-iou", unit="IoU", absent=ABSENT)
    return Chart("Class IoU", svg, "Held-out images. A class without ground truth has no IoU and does not count in the mean.")


def _scores(run: Run) -> Chart | None:
    rounds = [score for score in run.scores if not score.stage.is_bound]
    if not rounds:
        return None
    keys = {"mIoU": "miou", "pixel accuracy": "pixel_accuracy"}
    points = {title: [(s.stage.title, float(s.metrics[key])) for s in rounds] for title, key in keys.items()}
    bounds = [
        Bound(title, stage.name, float(score.metrics[key]), stage_colour(stage, last_round=run.last_round))
        for stage in (SOURCE_ONLY, ORACLE)
        for title, key in keys.items()
        if (score := score_of(run.scores, stage)) is not None
    ]
    svg = score_by_round(points, bounds=bounds, name="score-by-round")
    return Chart("Scores by round", svg, "Dashed: the bounds: source-only (no adaptation) and the oracle (real labels).")


def _training(run: Run) -> Chart | None:
    curves = {stage: read_curves(run.layout.task(stage) / "history.jsonl") for stage in run.stages}
    keys = sorted({key for own in curves.values() for key in own if key.startswith("loss")})  # 'loss', the total, is first
    if not keys:
        return None
    panels = [
        Panel(
            key.replace("_", " "),
            tuple(
                Curve(stage.title, stage_colour(stage, last_round=run.last_round), *own[key])
                for stage, own in curves.items()
                if key in own
            ),
        )
        for key in keys
    ]
    svg = curve_row(panels, name="training", columns=max(2, min(3, len(panels))))
    return Chart("Training losses", svg, "A line for each stage. Points of long histories are means of neighbouring steps.")


def _adapter_losses(run: Run) -> Chart | None:
    curves = read_curves(run.layout.adapter / "history.jsonl")
    panels = [Panel(name, tuple(lines)) for name, lines in _by_direction(curves).items()]
    if not panels:
        return None
    svg = curve_row(panels, name="adapter", columns=3)
    caption = (
        "Scales differ; target and source are the two directions of the translation. Adversarial losses need not fall: they"
        " balance two nets."
    )
    return Chart("Adapter losses", svg, caption)


def _by_direction(curves: Curves) -> dict[str, list[Curve]]:
    """'cycle_target' and 'cycle_source' become the two lines of one panel 'cycle'."""
    panels: dict[str, list[Curve]] = {}
    for key, line in curves.items():
        name, _, direction = key.rpartition("_")
        if key.startswith("agreement") or key in ("lr", "learning_rate", "moved"):
            continue
        paired = direction in ("source", "target")
        colour = COLOUR["source" if direction == "source" else "ramp-12"]
        panels.setdefault((name if paired else key).replace("_", " "), []).append(
            Curve(direction if paired else "", colour, *line)
        )
    return panels


def domains(run: Run) -> Iterator[Domain]:
    """The data sets of the run that exist: synthetic, adapted, real, pseudo-labels, and held-out labels once they are scored."""
    size, classes = run.config.size, run.config.class_list
    for source, colour in zip(run.config.synthetic, itertools.cycle(SYNTHETIC_COLOURS)):
        kind, images, labels = dataset_of(source, classes), *_files(run, source)
        yield Domain(f"synthetic {source.called}", colour, labels_of(labels, kind, size=size), colours_of(images, size=size))
    if run.has(run.layout.adapted):
        yield Domain("adapted", COLOUR["ramp-6"], colours=colours_of(ADAPTED.find_images(run.layout.adapted, ""), size=size))
    for source in run.config.real:
        yield Domain(f"real {source.called}", COLOUR["oracle"], colours=colours_of(_files(run, source)[0], size=size))
    for round_, store in run.stores.items():
        colour = round_colour(round_, last_round=run.last_round)
        yield Domain(f"pseudo-labels, round {round_}", colour, pseudo_labels_of(store, size=size))
    held_out = run.config.held_out
    if held_out is not None and run.scores:
        of_labels = labels_of(_files(run, held_out)[1], dataset_of(held_out, classes), size=size)
        yield Domain("held-out labels", COLOUR["oracle"], of_labels)


def _files(run: Run, folder: DataFolder) -> tuple[dict[str, Path], dict[str, Path]]:
    """Existing images and labels by frame name: the page can be made after the data was removed."""
    kind, root = layout_named(folder.layout), run.layout.resolve(folder.root)
    images = kind.find_images(root, folder.split)
    left_out = kind.unusable.keys() | kind.mis_sized
    labels = {name: path for name, path in kind.find_labels(root, folder.split).items() if name not in left_out}
    return {name: path for name, path in images.items() if name not in left_out}, labels


def _coverage(run: Run) -> Chart | None:
    if not run.stores:
        return None
    series = []
    for round_, store in run.stores.items():
        colour = round_colour(round_, last_round=run.last_round)
        series.append(Bars(f"round {round_}", colour, _counted_share(store, portion=run.config.rounds.kept_fraction_of(round_))))
    portions = {round_: run.config.rounds.kept_fraction_of(round_) for round_ in run.stores}
    names = run.config.class_list.names
    svg = grouped_bars(names, series, name="coverage", unit="share used", absent="none", lines=sorted(set(portions.values())))
    asked = ", ".join(f"{portion:g} in round {round_}" for round_, portion in portions.items())
    caption = (
        f"Share of each class's pseudo-labelled pixels that training uses. Dashed: rounds.kept_fraction ({asked}). Bars"
        " above it: ties at the threshold. No bar: the teacher predicted the class never or hardly ever."
    )
    return Chart("Pseudo-labels used", svg, caption)


def _counted_share(store: LabelStore, *, portion: float) -> NDArray[np.float64]:
    least = store.thresholds(portion=portion)
    counted = np.where(np.arange(256) >= least[:, None], store.counts, 0).sum(axis=1)
    total = store.counts.sum(axis=1)
    return np.where(total > 0, counted / np.maximum(total, 1), np.nan)
