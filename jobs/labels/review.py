"""`selfsyn labels review`: lists pseudo-labels for people, the most doubtful first. Never imports torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from jobs.labels.opened import round_option
from jobs.options import run_option, workers_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from selfsyn.config import RunConfig
    from selfsyn.corrections import CorrectedStore
    from selfsyn.layout import Layout
    from selfsyn.pseudo_labels import LabelStore
    from selfsyn.review import Measures

JOURNAL: Final = ".journal.jsonl"
COLUMNS: Final = ("mean_confidence", "ignored", "worst_class", "worst_confidence", "disagreement")


@click.command()
@run_option
@round_option
@click.option(
    "--count",
    type=click.IntRange(1, 60),
    default=24,
    show_default=True,
    help="Images to propose to a person, and to show of the most doubtful ones.",
)
@workers_option
def review(root: Path, round_: int | None, count: int, workers: int | None) -> None:
    """List the pseudo-labels of a round, the most doubtful first, and propose images to a person.

    Writes round-K/review/: review.csv with all images, spread.txt with the names of images that are spread over classes and
    scenes (for `selfsyn labels export --only`), and index.html with pictures of both. Doubt is the mean of 1 - confidence, the
    share of ignored pixels, and the share of pixels that changed since the round before. If the command was interrupted, run
    it again: it goes on with the images that are missing.
    """
    from jobs.labels.opened import opened_store
    from selfsyn.phase import open_run
    from selfsyn.progress import say, track
    from selfsyn.review import spread

    layout, config = open_run(root)
    round_, store = opened_store(layout, config, round_)
    folder = layout.review(round_)
    folder.mkdir(parents=True, exist_ok=True)
    rows = _measures(layout, config, round_, store, workers=workers)
    found = list(track(rows, total=len(store.names), label="labels review"))
    found = [one for one in found if one.name not in store.corrections]
    worst = sorted(found, key=lambda one: (-one.doubt, one.name))
    chosen = [found[position] for position in spread(found, count=count)] if found else []
    _write(folder, layout, config, store, round_=round_, worst=worst, chosen=chosen, count=count)
    (folder / JOURNAL).unlink()
    say(f"labels review: {len(found)} images in {folder / 'review.csv'}; pictures in {folder / 'index.html'}")


def _measures(
    layout: Layout, config: RunConfig, round_: int, store: CorrectedStore, *, workers: int | None
) -> Iterator[Measures]:
    """The measures of all labelled images, by name; those of an earlier attempt first."""
    from selfsyn import journal
    from selfsyn.ahead import ahead
    from selfsyn.cores import usable_cores
    from selfsyn.review import Measures

    before, portion = _store_before(layout, config, round_), config.rounds.kept_fraction_of(round_)
    thresholds, path = store.thresholds(portion=portion), layout.review(round_) / JOURNAL
    head = {"labels": store.content(), "before": before.content() if before else None, "kept_fraction": portion}
    done, threads = journal.begun(path, head), workers or usable_cores()
    for row in journal.rows_of(path):
        yield Measures(**{**row, "shares": tuple(row["shares"])})
    with open(path, "a") as stream, ThreadPoolExecutor(threads) as pool:
        left = store.names[done:]
        for one in ahead(lambda name: _measured(name, store, before, thresholds), left, threads=pool, most=4 * threads):
            stream.write(json.dumps(asdict(one)) + "\n")
            yield one


def _store_before(layout: Layout, config: RunConfig, round_: int) -> LabelStore | None:
    """The label store of the round before, if it is finished."""
    from selfsyn.errors import NotReadyError
    from selfsyn.pseudo_labels import LabelStore

    try:
        return LabelStore(layout.labels(round_ - 1), config.class_list) if round_ > 1 else None
    except NotReadyError:
        return None


def _measured(name: str, store: LabelStore, before: LabelStore | None, thresholds: NDArray[np.int64]) -> Measures:
    from selfsyn.pseudo_labels import LabelStore
    from selfsyn.review import measured

    old = before.maps(name)[0] if before is not None and before.has(name) else None
    return measured(name, LabelStore.maps(store, name), thresholds=thresholds, before=old, classes=store.classes)


def _write(
    folder: Path,
    layout: Layout,
    config: RunConfig,
    store: CorrectedStore,
    *,
    round_: int,
    worst: Sequence[Measures],
    chosen: Sequence[Measures],
    count: int,
) -> None:
    from jobs.labels.opened import image_files
    from selfsyn.files import write_atomic
    from selfsyn.images import read_image, resize_image
    from selfsyn.report.review import render

    shown = worst[:count]
    images = image_files(layout, config, [one.name for one in (*shown, *chosen)])
    portion = config.rounds.kept_fraction_of(round_)

    def look(name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        label = store.read(name, portion=portion)
        return resize_image(read_image(images[name]), size=(label.shape[1], label.shape[0])), label

    places = {row["name"]: row["image"] for row in store.rows()}
    write_atomic(folder / "review.csv", _csv(worst, places).encode())
    write_atomic(folder / "spread.txt", "".join(f"{one.name}\n" for one in chosen).encode())
    words = _facts(store, worst, portion=portion)
    page = render(words, shown, chosen, look=look, config=config, round_=round_)
    write_atomic(folder / "index.html", page.encode())


def _csv(worst: Sequence[Measures], places: Mapping[str, str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "image", "doubt", *COLUMNS])
    for one in worst:
        values: list[Any] = [getattr(one, column) for column in COLUMNS]
        writer.writerow([one.name, places[one.name], one.doubt, *("" if value is None else value for value in values)])
    return text.getvalue()


def _facts(store: CorrectedStore, worst: Sequence[Measures], *, portion: float) -> list[tuple[str, str]]:
    mean = sum(one.mean_confidence for one in worst) / max(1, len(worst))
    changed = [one.disagreement for one in worst if one.disagreement is not None]
    facts = [
        (
            "Images",
            f"{len(store.names):,} labelled, {len(store.skipped):,} skipped as unreadable, {len(store.corrections):,} corrected",
        ),
        ("Confidence", f"{mean:.1%} on average".replace("%", " %")),
        (
            "Ignored",
            f"pixels below their class's threshold, with the {portion:g} most confident of each class kept; dark in the pictures",
        ),
    ]
    if changed:
        facts.append(("Changed", f"{sum(changed) / len(changed):.1%} of the pixels since the round before".replace("%", " %")))
    facts.append(("Doubt", "mean of 1 − confidence, ignored share" + (" and changed share" if changed else "")))
    return facts
