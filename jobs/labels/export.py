"""`selfsyn labels export`: writes pseudo-labels in the format of a labelling tool. Never imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.labels.opened import format_option, round_option
from jobs.options import FILE, FOLDER, Number, run_option, workers_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from export.delivery import Maps, Order
    from selfsyn.config import RunConfig
    from selfsyn.corrections import CorrectedStore
    from selfsyn.layout import Layout


@click.command()
@run_option
@round_option
@click.option("--to", type=FOLDER, required=True, help="The folder to write: new or empty.")
@format_option
@click.option(
    "--kept-fraction",
    type=Number(0, 1, min_open=True),
    help="Of each class, keep this share of the pixels: the most confident of all images, as training does. Default: all.",
)
@click.option(
    "--min-confidence",
    type=Number(0, 1),
    default=0.0,
    help="Keep pixels whose confidence is at least this. Default: all.",
)
@click.option("--only", type=FILE, help="A file with the names of images to export, one a line.")
@click.option("--worst", type=click.IntRange(1), help="Export the N images with the lowest mean confidence, the lowest first.")
@click.option("--limit", type=click.IntRange(1), help="Export at most N images: the first by name, or of --worst.")
@workers_option
def export(
    root: Path,
    round_: int | None,
    to: Path,
    kind: str,
    kept_fraction: float | None,
    min_confidence: float,
    only: Path | None,
    worst: int | None,
    limit: int | None,
    workers: int | None,
) -> None:
    """Write the pseudo-labels of a round as a folder that a labelling tool imports.

    Masks have the size of the image files. Images are linked, not copied. Where the format has a place for it, confidence
    goes along. Pixels that are not kept belong to no class. If the command was interrupted, run it again: it goes on with the
    images that are missing. The same labels give the same bytes.
    """
    from export.delivery import deliver, is_delivered
    from selfsyn.phase import open_run
    from selfsyn.progress import say, track

    layout, config = open_run(root)
    order = _order(layout, config, round_, kind=kind, least=(kept_fraction, min_confidence), choice=(only, worst, limit))
    if is_delivered(order, to):
        say(f"labels export: already done, in {to}")
        return
    for _ in track(deliver(order, to, workers=workers), total=len(order.names), label=f"labels export --as {kind}"):
        pass
    say(f"labels export: {len(order.names)} images in {to}")


def _order(
    layout: Layout,
    config: RunConfig,
    round_: int | None,
    *,
    kind: str,
    least: tuple[float | None, float],
    choice: tuple[Path | None, int | None, int | None],
) -> Order:
    from export.delivery import Order
    from jobs.labels.opened import classes_of, image_files, opened_store, refuse_missing
    from selfsyn.data.sources import correction_digests
    from selfsyn.files import digest_lines

    round_, store = opened_store(layout, config, round_)
    images = image_files(layout, config, ())
    names = _chosen(store, images, *choice)
    refuse_missing(layout, images, names)
    lowest = _lowest(store, *least)

    def read(name: str) -> Maps:
        return store.at_least(name, thresholds=lowest)

    about = {"round": round_, "labels": store.content(), "names": digest_lines(names)}
    about |= correction_digests(layout, round_)
    about |= {"kept_fraction": least[0], "min_confidence": least[1]}
    return Order(kind, classes_of(config.class_list), names, images, read, store.teacher, about)


def _chosen(
    store: CorrectedStore, images: Mapping[str, Path], only: Path | None, worst: int | None, limit: int | None
) -> Sequence[str]:
    from jobs.labels.opened import name_of
    from selfsyn.data.frames import names_in

    names, known = list(store.names), set(store.names)
    if only is not None:
        asked = (name if name in known else name_of(name, store, images) for name in names_in(only))
        names = [name for name in dict.fromkeys(asked) if name in known]
    if worst is not None:
        confidence = {row["name"]: row["mean_confidence"] for row in store.rows() if "skipped" not in row}
        confidence |= dict.fromkeys(store.corrections, 255)
        names = sorted(names, key=lambda name: (confidence[name], name))[:worst]
    return names[:limit]


def _lowest(store: CorrectedStore, kept_fraction: float | None, min_confidence: float) -> NDArray[np.int64]:
    """(K,) the lowest confidence 0..255 that is kept, for each class."""
    import numpy as np

    given = np.int64(math.ceil(255 * min_confidence))
    every = np.zeros(len(store.counts), dtype=np.int64) if kept_fraction is None else store.thresholds(portion=kept_fraction)
    return np.maximum(every, given)
