"""`selfsyn labels show`: shows the pseudo-labels of an image. Never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.labels.opened import round_option
from jobs.options import FILE, run_option

if TYPE_CHECKING:
    from selfsyn.config import RunConfig
    from selfsyn.corrections import CorrectedStore
    from selfsyn.layout import Layout


@click.command()
@click.argument("image")
@run_option
@round_option
@click.option(
    "--to",
    type=FILE,
    help="The picture to write. Default: NAME-round-K.png in the working directory.",
)
def show(image: str, root: Path, round_: int | None, to: Path | None) -> None:
    """Show which teacher labelled IMAGE, its confidences, and which pixels training uses; write an overlay picture.

    IMAGE is a name in the label store or the path of the image file. The picture shows, side by side, the image, all its
    pseudo-labels, and the pseudo-labels that training uses.
    """
    from jobs.labels.opened import image_files, name_of, opened_store
    from selfsyn.phase import open_run

    layout, config = open_run(root)
    round_, store = opened_store(layout, config, round_)
    name = name_of(image, store, image_files(layout, config, ()))
    click.echo("\n".join(_origin(layout, store, name, round_=round_)))
    if name in store.skipped:
        return
    portion = config.rounds.kept_fraction_of(round_)
    click.echo("\n".join(_statistics(store, name, portion=portion)))
    target = to or Path(f"{name.replace('/', '_')}-round-{round_}.png")
    _write_picture(target, layout, config, store, name, portion=portion)
    click.echo(f"{'picture':<12}{target}")


def _origin(layout: Layout, store: CorrectedStore, name: str, *, round_: int) -> list[str]:
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
    if name in store.corrections:
        _, one = store.corrections[name]
        lines["corrected"] = f"with {one.tool} from {one.origin}, imported {one.imported}, {one.changed:,} pixels changed"
    return [f"{key:<12}{value}" for key, value in lines.items()]


def _statistics(store: CorrectedStore, name: str, *, portion: float) -> list[str]:
    """Lines: confidence in percent over the image, then a row for each class in it, the most frequent class first."""
    import numpy as np

    from selfsyn.labels import IGNORE

    names = store.classes.names
    label, confidence = store.maps(name)
    percent = confidence / 2.55
    low, middle, high = np.percentile(percent, [5, 50, 95])
    counted, least = store.read(name, portion=portion) != IGNORE, store.thresholds(portion=portion)
    lines = [
        f"{'confidence':<12}mean {percent.mean():.1f} %, 5 % of pixels below {low:.1f} %, half below {middle:.1f} %,"
        f" 95 % below {high:.1f} %",
        f"{'counts':<12}{counted.mean():.1%} of pixels (rounds.kept_fraction {portion:g}, thresholds of the whole store)",
        f"{'class':<16}{'pixels':>9}{'confidence':>12}{'threshold':>11}{'counts':>9}",
    ]
    shares = np.bincount(label.ravel(), minlength=256)[: len(names)] / label.size
    for train_id in np.argsort(-shares, kind="stable")[: np.count_nonzero(shares)]:
        here = label == train_id
        threshold = f"{least[train_id] / 2.55:.1f} %" if least[train_id] < 256 else "none"
        cells = f"{shares[train_id]:>9.1%}{percent[here].mean():>10.1f} %{threshold:>11}{counted[here].mean():>9.1%}"
        lines.append(f"{names[train_id]:<16}{cells}")
    return lines


def _write_picture(target: Path, layout: Layout, config: RunConfig, store: CorrectedStore, name: str, *, portion: float) -> None:
    import numpy as np

    from jobs.labels.opened import image_files
    from selfsyn.files import write_atomic
    from selfsyn.images import encode_png, read_image, resize_image
    from selfsyn.overlay import overlay

    label, _ = store.maps(name)
    image = resize_image(read_image(image_files(layout, config, [name])[name]), size=label.shape[::-1])
    kept = store.read(name, portion=portion)
    panels = [image, overlay(image, label, store.classes), overlay(image, kept, store.classes)]
    write_atomic(target, encode_png(np.concatenate(panels, axis=1)))
