"""The table of scores: a row for each evaluated stage, and the source manifest of each number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfsyn.manifest import MANIFEST
from selfsyn.report.collect import Score, packed
from selfsyn.report.verdict import gap_closed, percent, score_of, signed
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage

ABSENT = "absent"  # a class without ground truth: neither 0 nor 1


@dataclass(frozen=True)
class Cell:
    """A number of the table. title: its full value and provenance.  heat: 0..100, None for no colour."""

    text: str
    title: str
    heat: int | None = None


@dataclass(frozen=True)
class Row:
    """A stage: its name, the relative link to its manifest, its cells in the order of the columns."""

    stage: str
    link: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Scoreboard:
    """summary and classes: the column names; a row has a cell for each summary column, then for each class."""

    summary: tuple[str, ...]
    classes: tuple[str, ...]
    rows: tuple[Row, ...]


def scoreboard(scores: Sequence[Score]) -> Scoreboard:
    """The table of all evaluated stages. A column that compares exists only if its reference was evaluated."""
    source = score_of(scores, SOURCE_ONLY)
    oracle = score_of(scores, ORACLE)
    summary = ["mIoU", "pixel accuracy"]
    if source is not None:
        summary.append("vs source-only")
    if source is not None and oracle is not None:
        summary.append("gap closed")
    rows = tuple(_row(score, source, oracle) for score in scores)
    return Scoreboard(tuple(summary), tuple(scores[0].metrics["class_iou"]) if scores else (), rows)


def manifest_link(stage: Stage) -> str:
    """From report/index.html to its copy of the manifest of the stage's evaluation."""
    return packed(f"{stage}/evaluation")


def _row(score: Score, source: Score | None, oracle: Score | None) -> Row:
    cells = [_number(score, score.miou), _number(score, score.metrics["pixel_accuracy"])]
    if source is not None:
        cells.append(_change(score, source))
    if source is not None and oracle is not None:
        cells.append(_gap(score, source, oracle))
    cells += [_number(score, value, heat=True) for value in score.metrics["class_iou"].values()]
    return Row(score.stage.title, manifest_link(score.stage), tuple(cells))


def _provenance(score: Score) -> str:
    return f"{score.stage}/evaluation/{MANIFEST} ({score.manifest['digest'][:19]}…)"


def _number(score: Score, value: float | None, *, heat: bool = False) -> Cell:
    if value is None:
        return Cell(ABSENT, f"no pixel of this class in the held-out labels — {_provenance(score)}")
    return Cell(f"{value:.3f}", f"{value!r} — {_provenance(score)}", round(100 * value) if heat else None)


def _change(score: Score, source: Score) -> Cell:
    if score.stage == source.stage:
        return Cell("–", "this is source-only")
    change = score.miou - source.miou
    return Cell(signed(change), f"{change:+} mIoU against {_provenance(source)} — {_provenance(score)}")


def _gap(score: Score, source: Score, oracle: Score) -> Cell:
    share = gap_closed(score.miou, source=source.miou, oracle=oracle.miou)
    if share is None:
        return Cell("no gap", f"the oracle is no better than source-only — {_provenance(oracle)}")
    return Cell(percent(share), f"{share!r} of the way from source-only to the oracle — {_provenance(score)}")
