"""The beginning of the page: what changed, in pictures chosen without labels; the verdict at equal budgets; what to do next.

Never imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import IGNORE, ClassList
from selfsyn.config import Source
from selfsyn.data.sample import evenly_spaced
from selfsyn.data.statistics import LabelStatistics
from selfsyn.images import encode_jpeg, read_ids, read_image, resize_image, resize_label, upright_size
from selfsyn.overlay import overlay
from selfsyn.report.collect import COMPARISON, Run
from selfsyn.report.domains import Domain
from selfsyn.report.facts import updates_in_all
from selfsyn.report.pictures import (
    LARGEST,
    PICTURES,
    QUALITY,
    Gallery,
    Picture,
    found_images,
    images_of,
    label,
    photo,
    picture_of,
    size_within,
)
from selfsyn.report.verdict import percent, score_of, signed
from selfsyn.rounds import COMPARED, Change
from selfsyn.stage import ORACLE, SOURCE_ONLY

OURS: Final = "ours"
SQUEEZED: Final = 1.2  # times: how much the aspect of two data sets may differ without a word
Look = Callable[[str], NDArray[np.uint8]]


@dataclass(frozen=True)
class Compared:
    """Two answers to the same images: titles, and name -> (H, W) train ids."""

    before: str
    after: str
    first: Look
    last: Look
    images: Mapping[str, Path]
    names: Sequence[str]


def opening_gallery(run: Run) -> tuple[Gallery, str] | None:
    """Real images, two answers and their difference, where most changed; and how they were chosen. None without two answers.

    The answers are those of the first evaluated stage, source-only if possible, and the last round to held-out images;
    otherwise the labels of the first and the last store. No ground truth is read.
    """
    found = _of_evaluations(run) or _of_stores(run)
    if found is None or not found.names:
        return None
    changed = {name: _change(found, name) for name in found.names}
    names = sorted(found.names, key=lambda name: (-changed[name], name))[:PICTURES]
    rows = tuple((name, _row(found, name, run.config.class_list)) for name in names)
    share = percent(float(np.mean(list(changed.values()))))
    caption = (
        f"The {len(names)} of {len(changed)} real images with the largest change, chosen without labels."
        f" {found.after.capitalize()} gives {share} of the pixels another class than {found.before}. Last column: the new class"
        " where it differs."
    )
    return Gallery(("real image", found.before, found.after, "where they differ"), rows), caption


def fair(run: Run) -> str | None:
    """The comparison with a source-only net of the same number of updates, or that there is none. None without a round."""
    rounds = [score for score in run.scores if not score.stage.is_bound]
    if not rounds:
        return None
    table = _table(run.layout.root / COMPARISON, run.config.task.architecture)
    if not {SOURCE_ONLY.name, OURS} <= table.keys():
        plain, updates = score_of(run.scores, SOURCE_ONLY), updates_in_all(run)
        if plain is not None and updates.get(SOURCE_ONLY) == updates.get(rounds[-1].stage) and run.config.student is None:
            return _equal(plain.miou, rounds[-1].miou, updates=updates[SOURCE_ONLY], seeds=[str(run.config.seed)])
        known = "" if plain is None else " The comparison above is not fair in this respect."
        return (
            f"No source-only net of the same number of updates was trained.{known} To train it:"
            f" `selfsyn compare --run {run.layout.root.name} --rows source-only,ours`."
        )
    source, ours = table[SOURCE_ONLY.name], table[OURS]
    seeds = sorted(source["seeds"].keys() & ours["seeds"].keys())
    if source["updates"] != ours["updates"]:
        return (
            f"`selfsyn compare` has no equal budgets here: source-only has {source['updates']:,} updates, our rounds"
            f" {ours['updates']:,}, which train the teacher and the student."
        )
    if not seeds:
        return "source-only and ours were compared with different seeds: run `selfsyn compare` with the same ones."
    means = [float(np.mean([row["seeds"][seed]["miou"] for seed in seeds])) for row in (source, ours)]
    return _equal(*means, updates=ours["updates"], seeds=seeds)


def _equal(source: float, ours: float, *, updates: int, seeds: Sequence[str]) -> str:
    word = "better than" if ours > source else "no better than"
    return (
        f"At equal budgets ({updates:,} updates, {_seeds(seeds)}), our rounds are {word} source-only: mIoU"
        f" {source:.3f} → {ours:.3f} ({signed(ours - source)})."
    )


def next_steps(run: Run, changes: Mapping[int, Change], domains: Sequence[Domain]) -> list[str]:
    """Sentences about what would help: another round, classes that the synthetic data lack, sources of another aspect."""
    return [*_another_round(run, changes), *_missing_classes(domains, run.config.class_list), *_other_aspects(run)]


def _of_evaluations(run: Run) -> Compared | None:
    stages = [score.stage for score in run.scores if score.stage != ORACLE]  # source-only is the first, if it was evaluated
    if run.config.held_out is None or len(stages) < 2:
        return None
    first, last = (run.layout.evaluation(stage) / "pictures" for stage in (stages[0], stages[-1]))
    images = found_images(run.layout, run.config.held_out)
    names = sorted({path.stem for path in first.glob("[!.]*.png")} & {path.stem for path in last.glob("[!.]*.png")} & set(images))
    return Compared(
        stages[0].title,
        stages[-1].title,
        lambda name: read_ids(first / f"{name}.png"),
        lambda name: read_ids(last / f"{name}.png"),
        images,
        names,
    )


def _of_stores(run: Run) -> Compared | None:
    if len(run.stores) < 2:
        return None
    (low, first), (high, last) = min(run.stores.items()), max(run.stores.items())
    images = images_of(run, run.config.real)
    names = evenly_spaced(sorted(set(first.names) & set(last.names) & set(images)), count=COMPARED)
    titles = (f"round {low - 1}", f"round {high - 1}")
    return Compared(*titles, lambda name: first.maps(name)[0], lambda name: last.maps(name)[0], images, names)


def _change(found: Compared, name: str) -> float:
    first, last = found.first(name), found.last(name)
    return float(np.mean(resize_label(first, size=(last.shape[1], last.shape[0])) != last))


def _row(found: Compared, name: str, classes: ClassList) -> tuple[Picture, ...]:
    last = found.last(name)
    first = resize_label(found.first(name), size=(last.shape[1], last.shape[0]))
    size = size_within(last, LARGEST)
    image = resize_image(read_image(found.images[name]), size=size)
    different = resize_label(np.where(first != last, last, np.uint8(IGNORE)), size=size)
    drawn = overlay(image, different, classes)
    differs = picture_of(encode_jpeg(drawn, quality=QUALITY), drawn, media="image/jpeg", what="photo")
    return photo(found.images[name]), label(first, classes), label(last, classes), differs


def _table(path: Path, net: str) -> dict[str, Any]:
    """The rows of a net in the table of `selfsyn compare`; empty without one."""
    return dict(json.loads(path.read_text()).get(net, {})) if path.exists() else {}


def _seeds(seeds: Sequence[str]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"mean of seeds {', '.join(seeds)}"


def _another_round(run: Run, changes: Mapping[int, Change]) -> list[str]:
    if not changes:
        if len(run.stores) == 1:
            (last,) = run.stores
            command = f"selfsyn pseudo-label --run {run.layout.root.name} --round {last + 1}"
            return [f"`{command}` shows how much another round would change: it makes the labels of round {last + 1}."]
        return []
    last = max(changes)
    moved = 1 - changes[last].agreement
    words = f"Round {last} changed {moved:.1%} of the labels; another round would change about as many, or fewer".replace(
        "%", " %"
    )
    return [f"{words}{': it is worth little' if moved < 0.02 else ''}."]


def _missing_classes(domains: Sequence[Domain], classes: ClassList) -> list[str]:
    """Classes that the synthetic labels lack."""
    synthetic = [one.labels for one in domains if one.name.startswith("synthetic ") and one.labels]
    if not synthetic:
        return []
    absent = ~np.any([_there(labels) for labels in synthetic], axis=0)
    if not absent.any():
        return []
    names = [name for name, gone in zip(classes.names, absent, strict=True) if gone]
    occur, them = ("occurs", "it") if len(names) == 1 else ("occur", "them")
    return [
        f"{_listed(names)} never {occur} in the synthetic labels that the charts look at; no net learns a class without labels:"
        f" add frames that show {them}, if there are none."
    ]


def _there(labels: LabelStatistics) -> NDArray[np.bool_]:
    return np.asarray(labels.pixels > 0)


def _other_aspects(run: Run) -> list[str]:
    """Sources whose images the run's size stretches."""
    width, height = run.config.size
    sentences = []
    for kind, sources in (("synthetic", run.config.synthetic), ("real", run.config.real)):
        for source in sources:
            size = _size_of(run, source)
            if size is None:
                continue
            times = size[0] / size[1] * height / width
            if max(times, 1 / times) > SQUEEZED:
                told = f"images of {size[0]} × {size[1]}, which {width} × {height} squeezes {max(times, 1 / times):.1f} times"
                sentences.append(f"The {kind} source {source.called} is of another aspect ({told}): crop them, or change size.")
    return sentences


def _size_of(run: Run, source: Source) -> tuple[int, int] | None:
    """(width, height) of the source's first image as it is read; None when there are no images any more."""
    paths = found_images(run.layout, source)
    if not paths:
        return None
    return upright_size(paths[min(paths)])


def _listed(names: Sequence[str]) -> str:
    told = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return told[0].upper() + told[1:]
