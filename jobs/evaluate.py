"""`selfsyn evaluate`: scores a stage's exported teacher on held-out real labels. Never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.beginning import Job, opened
from jobs.options import (
    bound_option,
    dry_run_option,
    force_option,
    round_option,
    run_option,
    stage_of,
    teacher_device_option,
    workers_option,
)
from selfsyn.flow import evaluate_phase
from selfsyn.stage import Stage
from selfsyn.verbs import HELD_OUT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from export.pipeline import Answer
    from export.teacher import Teacher
    from selfsyn.classes import ClassList
    from selfsyn.config import RunConfig
    from selfsyn.data.frames import LabelledFrame
    from selfsyn.frame_counts import Cells
    from selfsyn.phase import Started

METRICS = "metrics.json"
PREDICTIONS = "predictions"
PICTURES = 24


@click.command()
@run_option
@round_option
@bound_option
@teacher_device_option
@workers_option
@force_option
@dry_run_option
@click.option(
    "--write-predictions",
    is_flag=True,
    help="Also write predictions/NAME.png at the label's size: Cityscapes label ids for the official evaluation; with [classes]"
    " train ids.",
)
def command(
    root: Path,
    round_: int | None,
    bound: str | None,
    device: str,
    workers: int | None,
    force: bool,
    dry_run: bool,
    write_predictions: bool,
) -> None:
    """Score a stage's teacher on held-out real images.

    The teacher predicts classes at the working size. They are enlarged to the label's size and counted over the whole
    data set. The score is only reported: it decides nothing in training.
    """
    stage = stage_of(round_, bound)
    job = opened(
        root,
        lambda config: evaluate_phase(config, stage=stage),
        force=force,
        dry_run=dry_run,
        wanted=PREDICTIONS if write_predictions else "",
    )
    if job is not None:
        job.teacher_device(device)
        _evaluate(job, stage, device=device, workers=workers, write_predictions=write_predictions)


def _evaluate(job: Job, stage: Stage, *, device: str, workers: int | None, write_predictions: bool) -> None:
    from selfsyn.calibration import calibration
    from selfsyn.data import sources
    from selfsyn.errors import InputError
    from selfsyn.files import digest_file, write_atomic, write_json
    from selfsyn.frame_counts import FRAMES, encode_frames
    from selfsyn.metrics import scores
    from selfsyn.phase import finish

    config = job.config
    frames, digest = sources.held_out(job.layout, config)
    assert config.held_out is not None  # held_out() checks it
    rules, teacher = config.protocol, job.teacher(stage, device=device, workers=workers)
    started = job.begin({HELD_OUT: digest})
    counted, joint, by_frame = _counts(started, frames, teacher=teacher, workers=workers, write_predictions=write_predictions)
    if not counted.any():
        raise InputError(
            f"{frames[0].label}: no pixel of it and {len(frames) - 1} more labels has a class; expected labels of the"
            f" layout {config.held_out.layout}; set held_out.ids, or another layout"
        )
    result = scores(counted, protocol=rules)
    result["calibration"] = calibration(joint, protocol=rules, portion=_next_portion(config, stage))
    write_json(started.folder / METRICS, result)
    write_atomic(started.folder / FRAMES, encode_frames(by_frame, classes=len(config.class_list)))
    click.echo(_table(result))
    counts = {"images": len(frames), "miou": result["miou"], "pixel_accuracy": result["pixel_accuracy"]}
    counts |= {"teacher": teacher.digest} | ({PREDICTIONS: len(frames)} if write_predictions else {}) | config.net_of(stage)
    # Predictions are for other programs. They are not in `outputs`, so that writing them later does not change the digest.
    outputs = {name: digest_file(started.folder / name) for name in (METRICS, FRAMES)}
    finish(started, outputs=outputs, counts=counts, device=teacher.provider)


def _next_portion(config: RunConfig, stage: Stage) -> float:
    """The fraction of this teacher's pseudo-labels that the next round would train on."""
    return config.rounds.kept_fraction_of(1 if stage.round is None else stage.round + 1)


def _counts(
    started: Started, frames: list[LabelledFrame], *, teacher: Teacher, workers: int | None, write_predictions: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, Cells]]:
    """-> confusion counts of all frames, rows true: (K, K) at the label's size, (K, K, 256) by confidence, and by frame.

    Writes the pictures of a few frames, and the predictions if `write_predictions`.
    """
    from functools import partial

    import numpy as np

    from export.pipeline import Codecs, answers
    from selfsyn.data.sample import evenly_spaced
    from selfsyn.frame_counts import cells
    from selfsyn.progress import track
    from selfsyn.pseudo_labels import LEVELS
    from selfsyn.stopping import Stopping

    stopping = Stopping()
    shown = frozenset(frame.name for frame in evenly_spaced(frames, count=PICTURES))
    counted = partial(_counted, shown=shown, folder=started.folder, write_predictions=write_predictions)
    classes = len(started.config.class_list)
    total, joint = np.zeros((classes, classes), np.int64), np.zeros((classes, classes, LEVELS), np.int64)
    by_frame = {}
    with Codecs(workers=workers) as codecs:
        counts = codecs.overlapped(counted, answers(frames, teacher=teacher, codecs=codecs))
        counted_frames = track(counts, total=len(frames), label=started.phase.name)
        for frame, (one, by_confidence) in zip(frames, counted_frames, strict=True):
            total += one
            by_frame[frame.name] = cells(one)
            places, pixels = by_confidence
            joint.reshape(-1)[places] += pixels
            stopping.exit_if_requested()
    return total, joint, by_frame


def _counted(
    answer: Answer[LabelledFrame], *, shown: frozenset[str], folder: Path, write_predictions: bool
) -> tuple[NDArray[np.int64], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """-> the confusion counts of a frame, and its counts by confidence as calibration.joint_places gives them."""
    from selfsyn.calibration import joint_places
    from selfsyn.files import write_atomic
    from selfsyn.images import encode_label_png, resize_label

    frame, name, classes = answer.frame, f"{answer.frame.name}.png", answer.frame.dataset.classes
    if frame.name in shown:
        write_atomic(folder / "pictures" / name, encode_label_png(answer.label, classes))
    ids = frame.dataset.read(frame.label)
    predicted = resize_label(answer.label, size=ids.shape[::-1])
    if write_predictions:
        write_atomic(folder / PREDICTIONS / name, _prediction(predicted, classes))
    counted = _confusion(frame, ids, predicted)  # InputError for an id outside the data set's table
    confidence = resize_label(answer.confidence, size=ids.shape[::-1])
    return counted, joint_places(frame.dataset.table[ids], predicted, confidence, classes=len(classes))


def _prediction(predicted: NDArray[np.uint8], classes: ClassList) -> bytes:
    """(H, W) train ids -> PNG bytes for other programs: Cityscapes' label ids of its classes, train ids of other classes."""
    from selfsyn.classes import CITYSCAPES_19
    from selfsyn.images import encode_label_png, encode_png
    from selfsyn.labels import LABEL_ID_OF_TRAIN_ID

    return encode_png(LABEL_ID_OF_TRAIN_ID[predicted]) if classes == CITYSCAPES_19 else encode_label_png(predicted, classes)


def _confusion(frame: LabelledFrame, ids: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Ids on disk and predicted train ids, (H, W) each -> (K, K) counts. InputError for an id outside the data set's table."""
    import numpy as np

    from selfsyn.images import to_train_ids
    from selfsyn.metrics import folded, joint_counts

    counts = joint_counts(ids, predicted)
    # Translate the ids that occur, not every pixel: the pixels would take five times as long as the counting.
    present = np.flatnonzero(counts.any(axis=1)).astype(np.uint8)
    rows = to_train_ids(present, table=frame.dataset.table, known=frame.dataset.known, path=frame.label)
    return folded(counts[present], rows=rows, columns=np.arange(counts.shape[1]), classes=len(frame.dataset.classes))


def _table(result: dict[str, Any]) -> str:
    """The contents of metrics.json -> a text table with a column for each variant, or one column without variants."""
    from selfsyn.labels import VARIANTS

    if "variants" not in result:
        return "\n".join([f"{result['protocol']}, percent", *_rows([result], width=6)])
    title = f"{result['protocol']}, percent; {METRICS} gives variant A as its score"
    heading = " " * 16 + "".join(f"{name:>14}" for name in result["variants"])
    return "\n".join([title, heading, *_rows(list(result["variants"].values()), width=14), VARIANTS])


def _rows(columns: list[dict[str, Any]], *, width: int) -> list[str]:
    """A row for each class of the first column, which has them all, then mIoU and pixel accuracy; '-' means no ground truth."""
    cells = [(name, [column["class_iou"].get(name, "") for column in columns]) for name in columns[0]["class_iou"]]
    cells += [
        (title, [column[key] for column in columns]) for title, key in (("mIoU", "miou"), ("pixel accuracy", "pixel_accuracy"))
    ]
    return [f"{title:<16}" + "".join(f"{_percent(value):>{width}}" for value in values) for title, values in cells]


def _percent(value: float | str | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{100 * value:.1f}"
