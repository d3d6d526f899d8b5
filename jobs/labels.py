"""`selfsyn labels`: shows the pseudo-labels of an image. Never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.options import run_option
from selfsyn.errors import InputError

if TYPE_CHECKING:
    from selfsyn.config import RunConfig
    from selfsyn.layout import Layout
    from selfsyn.pseudo_labels import LabelStore


@click.group("labels")
def command() -> None:
    """Show the pseudo-labels of an image and their origin.

    Usage: `selfsyn labels show IMAGE --run DIR [--round K]`.
    """


@command.command()
@click.argument("image")
@run_option
@click.option(
    "--round", "round_", type=click.IntRange(1), help="The round that trains on the labels. Default: the last round with labels."
)
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The picture to write. Default: NAME-round-K.png in the working directory.",
)
def show(image: str, root: Path, round_: int | None, to: Path | None) -> None:
    """Show which teacher labelled IMAGE, its confidences, and which pixels training uses; write an overlay picture.

    IMAGE is a name in the label store or the path of the image file. The picture shows, side by side, the image, all its
    pseudo-labels, and the pseudo-labels that training uses.
    """
    from selfsyn.phase import open_run
    from selfsyn.pseudo_labels import LabelStore

    layout, config = open_run(root)
    round_ = _last_round(layout) if round_ is None else round_
    store = LabelStore(layout.labels(round_))
    name = _name_of(image, store)
    click.echo("\n".join(_origin(layout, store, name, round_=round_)))
    if name in store.skipped:
        return
    portion = config.rounds.kept_fraction_of(round_)
    click.echo("\n".join(_statistics(store, name, portion=portion)))
    target = to or Path(f"{name.replace('/', '_')}-round-{round_}.png")
    _write_picture(target, layout, config, store, name, portion=portion)
    click.echo(f"{'picture':<12}{target}")


def _last_round(layout: Layout) -> int:
    from selfsyn.errors import NotReadyError

    found = layout.last_round("labels")
    if found is None:
        raise NotReadyError(f"{layout.root}: no label store; run `selfsyn pseudo-label --round 1` first")
    return found


def _name_of(image: str, store: LabelStore) -> str:
    """The name in the store of an image that is given by name or path. InputError names the most similar name."""
    import difflib

    if image in store.names or image in store.skipped:
        return image
    found = [row["name"] for row in store.rows() if Path(image).is_absolute() and image.endswith("/" + row["image"])]
    found += [row["name"] for row in store.rows() if row["image"] == image] if not found else []
    if not found:
        nearest = difflib.get_close_matches(Path(image).stem, [*store.names, *store.skipped], n=1, cutoff=0.0)
        raise InputError(f"{store.folder}: no image {image!r}; the nearest name is {nearest[0]!r}")
    return str(found[0])


def _origin(layout: Layout, store: LabelStore, name: str, *, round_: int) -> list[str]:
    from selfsyn.manifest import read_manifest
    from selfsyn.stage import round_stage

    shard, row = store.row(name)
    manifest = read_manifest(shard) or {}
    lines = {
        "image": f"{name} ({row['image']})",
        "round": f"{round_}, labelled by the teacher of {round_stage(round_ - 1)}",
        "teacher": store.teacher,
        "shard": str(shard.relative_to(layout.root)),
        "made with": f"selfsyn {manifest.get('version', '?')} on {manifest.get('device', '?')}",
    }
    lines |= {"skipped": row["skipped"]} if "skipped" in row else {"label": row["label_digest"]}
    return [f"{key:<12}{value}" for key, value in lines.items()]


def _statistics(store: LabelStore, name: str, *, portion: float) -> list[str]:
    """Lines: confidence in percent over the image, then a row for each class in it, the most frequent class first."""
    import numpy as np

    from selfsyn.labels import CLASSES, IGNORE

    label, confidence = store.maps(name)
    percent = confidence / 2.55
    low, middle, high = np.percentile(percent, [5, 50, 95])
    counted, least = store.read(name, portion=portion) != IGNORE, store.thresholds(portion=portion)
    lines = [
        f"{'confidence':<12}mean {percent.mean():.1f} %, 5 % of pixels below {low:.1f} %, half below {middle:.1f} %,"
        f" 95 % below {high:.1f} %",
        f"{'counts':<12}{counted.mean():.1%} of pixels (portion {portion:g}, thresholds of the whole store)",
        f"{'class':<16}{'pixels':>9}{'confidence':>12}{'threshold':>11}{'counts':>9}",
    ]
    shares = np.bincount(label.ravel(), minlength=len(CLASSES)) / label.size
    for train_id in np.argsort(-shares, kind="stable")[: np.count_nonzero(shares)]:
        here = label == train_id
        threshold = f"{least[train_id] / 2.55:.1f} %" if least[train_id] < 256 else "none"
        cells = f"{shares[train_id]:>9.1%}{percent[here].mean():>10.1f} %{threshold:>11}{counted[here].mean():>9.1%}"
        lines.append(f"{CLASSES[train_id]:<16}{cells}")
    return lines


def _write_picture(target: Path, layout: Layout, config: RunConfig, store: LabelStore, name: str, *, portion: float) -> None:
    import numpy as np

    from selfsyn.files import write_atomic
    from selfsyn.images import encode_png, read_image, resize_image
    from selfsyn.overlay import overlay

    label, _ = store.maps(name)
    image = resize_image(read_image(_file_of(layout, config, name)), size=label.shape[::-1])
    panels = [image, overlay(image, label), overlay(image, store.read(name, portion=portion))]
    write_atomic(target, encode_png(np.concatenate(panels, axis=1)))


def _file_of(layout: Layout, config: RunConfig, name: str) -> Path:
    from selfsyn.data.sources import listed_real

    found = [frame.image for frame in listed_real(layout, config)[0] if frame.name == name]
    if not found:
        raise InputError(f"{layout.configuration}: found no real image {name!r}; the labels were made from it, so put it back")
    return found[0]
