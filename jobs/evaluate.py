"""`selfsyn evaluate`: a stage's exported teacher against held-out real labels. Never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from jobs.options import (
    bound_option,
    device_option,
    dry_run_option,
    force_option,
    round_option,
    run_option,
    stage_of,
    workers_option,
)

if TYPE_CHECKING:
    from export.pipeline import Answer
    from export.teacher import Teacher
    from selfsyn.data.frames import LabelledFrame
    from selfsyn.labels import Protocol
    from selfsyn.phase import Started

METRICS = "metrics.json"
PICTURES = 8


@click.command()
@run_option
@round_option
@bound_option
@device_option
@workers_option
@force_option
@dry_run_option
def command(
    root: Path, round_: int | None, bound: str | None, device: str, workers: int | None, force: bool, dry_run: bool
) -> None:
    """Score a stage's teacher on the held-out labelled real images.

    The teacher sees each image at the working size; its classes are enlarged to the size of the label, where they are
    counted over the whole data set. The score is reported and never chosen by.
    """
    from export.teacher import load, usable_device
    from selfsyn.data.sources import held_out
    from selfsyn.flow import evaluate_phase
    from selfsyn.labels import protocol
    from selfsyn.phase import begin, open_run, read_manifest, require
    from selfsyn.progress import say

    layout, config = open_run(root)
    stage = stage_of(round_, bound)
    phase = evaluate_phase(config, stage=stage)
    if dry_run:
        reads = ", ".join((*phase.needs, "the held-out images and labels"))
        click.echo(f"{phase.name}: reads {reads}; writes {layout.root / phase.folder}")
        return
    require(layout, phase)
    frames, digest = held_out(layout, config)
    if force or read_manifest(layout.root / phase.folder) is None:
        device = usable_device(device)
    started = begin(layout, config, phase, sources={"held_out": digest}, force=force)
    if started is None:
        say(f"{phase.name}: already done")
        return
    teacher = load(layout.teacher(stage), device=device)
    assert config.held_out is not None  # or held_out() had refused
    _evaluate(started, frames, rules=protocol(config.held_out.protocol), teacher=teacher, workers=workers)


def _evaluate(started: Started, frames: list[LabelledFrame], *, rules: Protocol, teacher: Teacher, workers: int | None) -> None:
    from selfsyn.files import digest_file, write_json
    from selfsyn.metrics import scores
    from selfsyn.phase import finish

    result = scores(_counts(started, frames, rules=rules, teacher=teacher, workers=workers), protocol=rules)
    write_json(started.folder / METRICS, result)
    click.echo(_table(result))
    figures = {"images": len(frames), "miou": result["miou"], "pixel_accuracy": result["pixel_accuracy"]}
    outputs = {METRICS: digest_file(started.folder / METRICS)}
    finish(started, outputs=outputs, counts={**figures, "teacher": teacher.digest}, device=teacher.provider)


def _counts(
    started: Started, frames: list[LabelledFrame], *, rules: Protocol, teacher: Teacher, workers: int | None
) -> NDArray[np.int64]:
    """-> (K, K) confusion counts of all frames; writes the pictures of a few."""
    from functools import partial

    from export.pipeline import Codecs, answers, evenly_spaced
    from selfsyn.progress import track
    from selfsyn.stopping import Stopping

    stopping = Stopping()
    shown = frozenset(frame.name for frame in evenly_spaced(frames, count=PICTURES))
    counted = partial(_counted, rules=rules, shown=shown, folder=started.folder / "pictures")
    total = np.zeros((len(rules.names), len(rules.names)), np.int64)
    with Codecs(workers=workers) as codecs:
        counts = codecs.overlapped(counted, answers(frames, teacher=teacher, codecs=codecs))
        for one in track(counts, total=len(frames), label=started.phase.name):
            total += one
            stopping.exit_if_requested()
    return total


def _counted(answer: Answer[LabelledFrame], *, rules: Protocol, shown: frozenset[str], folder: Path) -> NDArray[np.int64]:
    from selfsyn.files import write_atomic
    from selfsyn.images import encode_label_png, resize_label
    from selfsyn.metrics import confusion, merged

    if answer.frame.name in shown:
        write_atomic(folder / f"{answer.frame.name}.png", encode_label_png(answer.label))
    label = answer.frame.read_label()
    predicted = resize_label(answer.label, size=label.shape[::-1])
    return confusion(merged(rules, label), merged(rules, predicted), classes=len(rules.names))


def _table(result: dict[str, Any]) -> str:
    rows = [*result["class_iou"].items(), ("mIoU", result["miou"]), ("pixel accuracy", result["pixel_accuracy"])]
    lines = [f"{name:<16}{'-' if value is None else f'{100 * value:.1f}':>6}" for name, value in rows]
    return "\n".join([f"{result['protocol']}, percent", *lines])
