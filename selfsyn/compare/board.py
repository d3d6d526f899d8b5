"""The results table of a net, as cells for the HTML page and as Markdown for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from selfsyn import config as configuration
from selfsyn.compare.lead import lead
from selfsyn.compare.results import BySeed, Line, change, gap_share, line_of, mean, spread
from selfsyn.compare.rows import OURS
from selfsyn.config import RunConfig
from selfsyn.manifest import MANIFEST
from selfsyn.report.facts import duration
from selfsyn.report.scoreboard import ABSENT, Cell
from selfsyn.report.verdict import percent, signed
from selfsyn.stage import ORACLE, SOURCE_ONLY

SUMMARY = ("mIoU", "pixel accuracy", "vs source-only", "gap closed", "seeds", "training")
ABLATION = ("mIoU", "pixel accuracy", "vs ours", "seeds", "training")
LEGEND = (
    "±: standard deviation over seeds. gap closed: gain over source-only, as a share of the oracle's. ahead: P: probability of a"
    " higher mIoU, over draws of seeds and held-out frames; near 0, the row is surely behind."
)


@dataclass(frozen=True)
class BoardRow:
    """A row of the page.

    words: its training data or method.  links: (seed, link to the manifest).  cells: for each column.
    """

    title: str
    words: str
    links: tuple[tuple[int, str], ...]
    cells: tuple[Cell, ...]
    ours: bool


@dataclass(frozen=True)
class Board:
    """A table. summary: names of its columns.  classes: names of the class columns after them."""

    summary: tuple[str, ...]
    classes: tuple[str, ...]
    rows: tuple[BoardRow, ...]


def board(lines: Sequence[Line]) -> Board:
    """The table of bounds, rivals and our rounds, in the order of `lines`."""
    plain = [line for line in lines if not line.entry.row.ablates]
    source, oracle = line_of(lines, SOURCE_ONLY.name), line_of(lines, ORACLE.name)
    rows = [_row(line, [*_scores(line), _against(line, source), _gap(line, source, oracle), *_rest(line)]) for line in plain]
    return Board(SUMMARY, _classes(plain), tuple(rows))


def ablation(lines: Sequence[Line]) -> Board | None:
    """The table of our rounds and their ablations; None while no ablation is finished."""
    ours = line_of(lines, OURS)
    without = [line for line in lines if line.entry.row.ablates]
    shown = ([ours] if ours else []) + without
    rows = [_row(line, [*_scores(line), _against(line, ours), *_rest(line)]) for line in shown]
    return Board(ABLATION, _classes(shown), tuple(rows)) if without else None


def text(lines: Sequence[Line]) -> str:
    """The tables of a net as Markdown, without class columns."""
    boards = [found for found in (board(lines), ablation(lines)) if found and found.rows]
    return "\n\n".join([*(_markdown(found) for found in boards), LEGEND])


def differences(line: Line, config: RunConfig) -> list[str]:
    """Differences of the row's configuration from the run's ('train.steps: 240 -> 480'), without seed, nets and file paths."""
    same = tuple(f"{key}{end}" for key in ("seed", "task", "student", "synthetic", "real", "held_out") for end in (".", ":"))
    return [change for change in configuration.difference(config, line.entry.config) if not change.startswith(same)]


def spread_text(values: BySeed) -> str:
    """Mean and standard deviation over seeds, '0.512 ± 0.013'; only the mean for a single seed."""
    wide = spread(values)
    return f"{mean(values):.3f}" + (f" ± {wide:.3f}" if wide is not None else "")


def _scores(line: Line) -> list[Cell]:
    return [_number(line.mious), _number(line.of("pixel_accuracy"))]


def _number(values: BySeed) -> Cell:
    return Cell(spread_text(values), ", ".join(f"seed {seed}: {value!r}" for seed, value in values.items()))


def _against(line: Line, other: Line | None) -> Cell:
    found = change(line.mious, other.mious) if other else None
    if other is None or found is None or other is line:
        return Cell("–", "no common seed to compare" if other is not line else "this row")
    difference, seeds = found
    title, sure = f"{difference:+} mIoU over {_several(seeds)} that both rows have", lead(line, other)
    if sure is None:
        return Cell(signed(difference), title)
    title += f"; 95 % of the draws of seeds and frames lie between {sure.low:+.3f} and {sure.high:+.3f}"
    return Cell(f"{signed(difference)} ({sure.words})", title)


def _gap(line: Line, source: Line | None, oracle: Line | None) -> Cell:
    if source is None or oracle is None:
        return Cell("–", "source-only or the oracle is not finished")
    share, seeds = gap_share(line.mious, source=source.mious, oracle=oracle.mious)
    if not seeds:
        return Cell("–", "source-only and the oracle are not finished with this seed")
    if share is None:
        return Cell("no gap", "the oracle is no better than source-only")
    return Cell(percent(share), f"{share!r} of the way from source-only to the oracle, of the means over {_several(seeds)}")


def _rest(line: Line) -> list[Cell]:
    classes = [
        Cell(ABSENT, f"{name}: no pixel in the held-out labels")
        if value is None
        else Cell(f"{value:.2f}", f"{name}: {value!r}, mean over seeds", round(100 * value))
        for name, value in line.class_iou.items()
    ]
    time = Cell(duration(line.seconds), "mean over seeds; phases that rows share count for each row")
    return [Cell(str(len(line.results)), ", ".join(str(seed) for seed in line.mious)), time, *classes]


def _row(line: Line, cells: list[Cell]) -> BoardRow:
    entries = [result.entry for result in line.results]
    links = tuple((e.seed, f"{e.net}/{e.row.name}/{e.root.name}/{e.stage}/evaluation/{MANIFEST}") for e in entries)
    row = line.entry.row
    return BoardRow(row.title, row.words, links, tuple(cells), row.name == OURS)


def _classes(lines: Sequence[Line]) -> tuple[str, ...]:
    return tuple(lines[0].class_iou) if lines else ()


def _several(seeds: int) -> str:
    return f"{seeds} seed{'s' if seeds > 1 else ''}"


def _markdown(found: Board) -> str:
    heading = ["", *found.summary]
    rows = [[row.title, *(cell.text for cell in row.cells[: len(found.summary)])] for row in found.rows]
    table = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def as_json(lines: dict[str, list[Line]]) -> dict[str, Any]:
    """{net: {row: {...}}} for other programs: the numbers of every seed, not rounded."""
    return {net: {line.entry.row.name: _line_json(line, of_net) for line in of_net} for net, of_net in lines.items()}


def _line_json(line: Line, lines: Sequence[Line]) -> dict[str, Any]:
    source, oracle = line_of(lines, SOURCE_ONLY.name), line_of(lines, ORACLE.name)
    share = gap_share(line.mious, source=source.mious, oracle=oracle.mious) if source and oracle else (None, 0)
    seeds = {
        str(one.entry.seed): {
            "miou": one.miou,
            "pixel_accuracy": one.metrics["pixel_accuracy"],
            "class_iou": one.metrics["class_iou"],
            "seconds": one.seconds,
        }
        for one in line.results
    }
    sure = lead(line, source) if source and source is not line else None
    means = {"miou": mean(line.mious), "miou_spread": spread(line.mious), "pixel_accuracy": mean(line.of("pixel_accuracy"))}
    return {
        **means,
        "gap_closed": share[0],
        "over_source_only": vars(sure) if sure else None,
        **vars(line.entry.cost),
        "seeds": seeds,
    }
