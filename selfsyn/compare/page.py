"""The HTML page of a comparison: tables, ablations, predictions side by side, training data of rows. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfsyn import config as configuration
from selfsyn.compare.board import Board, ablation, board, differences
from selfsyn.compare.budget import Cost, budget
from selfsyn.compare.lead import lead
from selfsyn.compare.results import Line, change, gap_share, line_of, mean
from selfsyn.compare.rows import OURS, TEACHER
from selfsyn.config import RunConfig
from selfsyn.report.page import class_colours, environment, stylesheet
from selfsyn.report.pictures import Gallery, prediction_gallery
from selfsyn.report.scoreboard import ABSENT
from selfsyn.report.verdict import percent, signed
from selfsyn.stage import ORACLE, SOURCE_ONLY


@dataclass(frozen=True)
class Learned:
    """The training of a row: description, cost, and the settings that differ from the run's."""

    title: str
    words: str
    cost: Cost
    differences: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """The part of the page about a net."""

    net: str
    task: str
    headline: str
    board: Board
    ablation: Board | None
    learned: tuple[Learned, ...]
    gallery: Gallery | None
    seed: int


def render(config: RunConfig, lines: Mapping[str, Sequence[Line]], *, rounds: int) -> str:
    """The page as HTML. Equal results give equal text."""
    return (
        environment()
        .get_template("compare.html")
        .render(
            css=stylesheet(),
            recipe=config.recipe,
            updates=budget(config, rounds=rounds),
            rounds=rounds,
            config=config,
            parts=[_part(config, net, found) for net, found in lines.items()],
            absent=ABSENT,
            classes=class_colours(config.class_list),
            run_toml=configuration.to_toml(config),
        )
    )


def _part(config: RunConfig, net: str, lines: Sequence[Line]) -> Part:
    task = lines[0].entry.config.task
    learned = tuple(
        Learned(line.entry.row.title, line.entry.row.words, line.entry.cost, tuple(differences(line, config))) for line in lines
    )
    gallery, seed = _pictures(lines)
    words = task.words
    if config.student is not None:
        words = f"{task.exact}; our last round trains its student, {config.student.exact}"
    return Part(net, words, headline(lines), board(lines), ablation(lines), learned, gallery, seed)


def headline(lines: Sequence[Line]) -> str:
    """A sentence that compares our rounds with source-only, the oracle and the best rival."""
    ours, source, oracle = (line_of(lines, name) for name in (OURS, SOURCE_ONLY.name, ORACLE.name))
    if ours is None:
        return "Our own rounds are not finished yet."
    parts = [f"Ours {mean(ours.mious):.3f} mIoU"]
    if source is not None and (found := change(ours.mious, source.mious)):
        parts.append(f"{signed(found[0])} against source-only")
    if source is not None and oracle is not None:
        share, _ = gap_share(ours.mious, source=source.mious, oracle=oracle.mious)
        parts.append(
            "no gap between source-only and the oracle" if share is None else f"{percent(share)} of the gap to the oracle"
        )
    return ", ".join(parts + _against_best_rival(ours, lines)) + "."


def _against_best_rival(ours: Line, lines: Sequence[Line]) -> list[str]:
    bounds = (OURS, TEACHER, SOURCE_ONLY.name, ORACLE.name)  # no rivals
    rivals = [line for line in lines if line.entry.row.name not in bounds and not line.entry.row.ablates]
    found = [(change(ours.mious, rival.mious), rival) for rival in rivals]
    paired = [(difference[0], rival) for difference, rival in found if difference is not None]
    if not paired:
        return []
    least, rival = min(paired, key=lambda pair: pair[0])
    sure = lead(ours, rival)
    words = f", {sure.words}" if sure else ""
    return [f"{signed(least)} against the strongest rival ({rival.entry.row.title}{words})"]


def _pictures(lines: Sequence[Line]) -> tuple[Gallery | None, int]:
    """The predictions of the lowest seed, and the seed. One seed, because held-out frames may differ between seeds."""
    seed = min(line.entry.seed for line in lines)
    shown = {
        line.entry.row.title: result.entry
        for line in lines
        for result in line.results
        if result.entry.seed == seed and not line.entry.row.ablates
    }
    if not shown:
        return None, seed
    one = next(iter(shown.values()))
    assert one.config.held_out is not None  # without it there are no scores
    folders = {title: entry.layout.evaluation(entry.stage) / "pictures" for title, entry in shown.items()}
    return prediction_gallery(one.layout, one.config, predictions=folders), seed
