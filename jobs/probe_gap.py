"""`selfsyn probe-gap`: what a net that knows the real street makes of the synthetic one, before and after adaptation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.options import device_option, dry_run_option, force_option, run_option, workers_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from export.teacher import Teacher
    from selfsyn.data.frames import LabelledFrame
    from selfsyn.phase import Started

METRICS = "metrics.json"
FRAMES = 500  # of the synthetic ones, evenly spaced


@click.command()
@run_option
@device_option
@workers_option
@force_option
@dry_run_option
def command(root: Path, device: str, workers: int | None, force: bool, dry_run: bool) -> None:
    """Score the oracle on synthetic images, as they are and adapted.

    The classic check of an adapter (Hoffman et al. 2018, section 4.2): a net trained on real labels does the better on
    adapted images the more real they look. Nothing is chosen by it. Needs the oracle: `selfsyn round --with-bounds`.
    """
    from export.pipeline import lanes
    from export.teacher import load, usable_cores, usable_device
    from selfsyn.data.sources import synthetic
    from selfsyn.flow import probe_phase
    from selfsyn.layout import ORACLE
    from selfsyn.phase import begin, open_run, read_manifest, require
    from selfsyn.progress import say

    layout, config = open_run(root)
    phase = probe_phase(config)
    if dry_run:
        click.echo(f"{phase.name}: reads {', '.join(phase.needs)}; writes {layout.root / phase.folder}")
        return
    if device == "cuda" and (force or read_manifest(layout.root / phase.folder) is None):
        usable_device(device)  # first: whatever else is missing, without the device it will not go
    require(layout, phase)
    frames, digest = synthetic(layout, config)
    started = begin(layout, config, phase, sources={"synthetic": digest}, force=force)
    if started is None:
        say(f"{phase.name}: already done")
        return
    before, after = _pairs(frames, adapted=layout.adapted)
    rules = config.held_out.protocol if config.held_out else "cityscapes-19"
    threads = max(1, usable_cores() // lanes(workers=workers))
    teacher = load(layout.teacher(ORACLE), device=device, threads=threads, precision=config.teacher.precision)
    result = {name: _scored(some, teacher=teacher, rules=rules, workers=workers, name=name) for name, some in (before, after)}
    _finish(started, result, images=len(before[1]), teacher=teacher)


def _pairs(
    frames: list[LabelledFrame], *, adapted: Path
) -> tuple[tuple[str, list[LabelledFrame]], tuple[str, list[LabelledFrame]]]:
    """The same frames as they are and adapted, both with the label at working size: one yardstick."""
    from dataclasses import replace

    from export.pipeline import evenly_spaced
    from selfsyn.data.adapted import ADAPTED
    from selfsyn.errors import InputError

    images, labels = ADAPTED.find_images(adapted, ""), ADAPTED.find_labels(adapted, "")
    chosen = evenly_spaced(frames, count=FRAMES)
    without = [frame.name for frame in chosen if frame.name not in images or frame.name not in labels]
    if without:
        raise InputError(f"{adapted}: no adapted image of {without[0]}; run `selfsyn adapt --force`")
    before = [replace(frame, label=labels[frame.name], dataset=ADAPTED) for frame in chosen]
    return ("synthetic", before), ("adapted", [replace(frame, image=images[frame.name]) for frame in before])


def _scored(frames: list[LabelledFrame], *, teacher: Teacher, rules: str, workers: int | None, name: str) -> dict[str, Any]:
    from export.pipeline import Codecs, answers
    from selfsyn.labels import CLASS_COUNT, protocol
    from selfsyn.metrics import confusion, scores
    from selfsyn.progress import track

    with Codecs(workers=workers) as codecs:
        found = track(answers(frames, teacher=teacher, codecs=codecs), total=len(frames), label=f"probe-gap: {name}")
        counts: NDArray[np.int64] = sum(
            confusion(answer.frame.read_label(), answer.label, classes=CLASS_COUNT) for answer in found
        )  # type: ignore[assignment]
    return scores(counts, protocol=protocol(rules))


def _finish(started: Started, result: dict[str, dict[str, Any]], *, images: int, teacher: Teacher) -> None:
    from selfsyn.files import digest_file, write_json
    from selfsyn.phase import finish

    write_json(started.folder / METRICS, result)
    click.echo("\n".join(_table(result)))
    counts = {"images": images, "teacher": teacher.digest}
    counts |= {f"{name}_{key}": result[name][key] for name in result for key in ("miou", "pixel_accuracy")}
    finish(started, outputs={METRICS: digest_file(started.folder / METRICS)}, counts=counts, device=teacher.provider)


def _table(result: dict[str, dict[str, Any]]) -> list[str]:
    """A row for each class, then mIoU and pixel accuracy, in percent; a column for each kind of image and the difference."""
    before, after = result["synthetic"], result["adapted"]
    rows = [(name, value, after["class_iou"][name]) for name, value in before["class_iou"].items()]
    rows += [(title, before[key], after[key]) for title, key in (("mIoU", "miou"), ("pixel accuracy", "pixel_accuracy"))]
    lines = [
        f"{title:<16}{100 * was:>10.1f}{100 * now:>10.1f}{100 * (now - was):>+8.1f}"
        for title, was, now in rows
        if was is not None
    ]
    return [
        f"{before['protocol']}, percent: the oracle on synthetic and on adapted images",
        f"{'':<16}{'synthetic':>10}{'adapted':>10}",
        *lines,
    ]
