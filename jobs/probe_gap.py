"""`selfsyn probe-gap`: scores the oracle on synthetic images before and after adaptation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.beginning import Job, opened
from jobs.options import device_option, dry_run_option, force_option, run_option, workers_option
from selfsyn.errors import InputError
from selfsyn.flow import probe_phase
from selfsyn.stage import ORACLE, SOURCE_ONLY
from selfsyn.verbs import SYNTHETIC

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from export.teacher import Teacher
    from selfsyn.config import RunConfig
    from selfsyn.data.frames import LabelledFrame
    from selfsyn.layout import Layout
    from selfsyn.phase import Started

METRICS = "metrics.json"
FRAMES = 500  # synthetic images, evenly spaced
TITLES = {"mIoU": "miou", "pixel accuracy": "pixel_accuracy"}


@click.command()
@run_option
@click.option(
    "--ablate",
    is_flag=True,
    help="Also fit and score adapters without the semantic loss, without the identity loss and without the cycle loss.",
)
@device_option
@workers_option
@force_option
@dry_run_option
def command(root: Path, ablate: bool, device: str, workers: int | None, force: bool, dry_run: bool) -> None:
    """Score the oracle on synthetic and on adapted images.

    A good adapter raises the score, because the oracle was trained on real images (Hoffman et al. 2018, section 4.2).
    The score decides nothing in training. Needs the oracle: `selfsyn round --with-bounds`.
    """
    job = opened(root, lambda config: probe_phase(config, ablate=ablate), force=force, dry_run=dry_run)
    if job is not None:
        job.teacher_device(device)
        _probe(job, ablate=ablate, device=device, workers=workers)


def _probe(job: Job, *, ablate: bool, device: str, workers: int | None) -> None:
    from selfsyn.data import sources

    layout, config = job.layout, job.config
    frames, digest = sources.synthetic(layout, config)
    probed, teacher = _pairs(frames, config, adapted=layout.adapted), job.teacher(ORACLE, device=device, workers=workers)
    started = job.begin({SYNTHETIC: digest})
    agreements = {}
    if ablate:
        agreements = _fit_ablated(started, layout, frames, device=device, workers=workers)
        probed |= {name: _adapted_frames(probed["adapted"], started.folder / name / "adapted") for name in agreements}
    result = {
        name: _scored(some, config, teacher=teacher, workers=workers, name=name) | agreements.get(name, {})
        for name, some in probed.items()
    }
    _finish(started, result, images=len(probed["synthetic"]), teacher=teacher)


def _pairs(frames: list[LabelledFrame], config: RunConfig, *, adapted: Path) -> dict[str, list[LabelledFrame]]:
    """The same frames before and after adaptation. Both use the labels of the adapted frames, so that scores compare."""
    from selfsyn.data.frames import dataset

    kind = dataset("adapted", classes=config.class_list)
    labels = kind.find_labels(adapted, "")
    chosen = _chosen(frames)
    without = [frame.name for frame in chosen if frame.name not in labels]
    if without:
        raise _missing(adapted, without[0])
    before = [replace(frame, label=labels[frame.name], dataset=kind) for frame in chosen]
    return {"synthetic": before, "adapted": _adapted_frames(before, adapted)}


def _chosen(frames: list[LabelledFrame]) -> list[LabelledFrame]:
    from selfsyn.data.sample import evenly_spaced

    return evenly_spaced(frames, count=FRAMES)


def _adapted_frames(frames: list[LabelledFrame], adapted: Path) -> list[LabelledFrame]:
    """The frames with their images replaced by those in the folder `adapted`."""
    from selfsyn.data.adapted import ADAPTED

    images = ADAPTED.find_images(adapted, "")
    without = [frame.name for frame in frames if frame.name not in images]
    if without:
        raise _missing(adapted, without[0])
    return [replace(frame, image=images[frame.name]) for frame in frames]


def _missing(adapted: Path, name: str) -> InputError:
    return InputError(f"{adapted}: found no adapted image of {name}; run `selfsyn adapt --force`")


def _fit_ablated(
    started: Started, layout: Layout, frames: list[LabelledFrame], *, device: str, workers: int | None
) -> dict[str, dict[str, float]]:
    """Fit an adapter without each loss and adapt the probed frames -> the agreements of each adapter by its name."""
    from selfsyn import devices
    from selfsyn.adapter.ablation import ABLATIONS, adapt_without
    from selfsyn.adapter.fit import WEIGHTS
    from selfsyn.data.sources import real
    from selfsyn.stopping import Stopping
    from selfsyn.task import build, load_weights

    target, stopping = devices.resolve(device), Stopping()
    devices.set_deterministic()
    frozen = build(started.config.task, pretrained=False, classes=len(started.config.class_list))
    load_weights(frozen, layout.task(SOURCE_ONLY) / WEIGHTS)
    images, _ = real(layout, started.config)
    return {
        f"without-{loss}": adapt_without(
            frozen,
            loss=loss,
            synthetic=frames,
            chosen=_chosen(frames),
            real=images,
            config=started.config,
            folder=started.folder / f"without-{loss}",
            device=target,
            workers=devices.worker_count(workers),
            stopping=stopping,
        )
        for loss in ABLATIONS
    }


def _scored(
    frames: list[LabelledFrame], config: RunConfig, *, teacher: Teacher, workers: int | None, name: str
) -> dict[str, Any]:
    from export.pipeline import Codecs, answers
    from selfsyn.metrics import confusion, scores
    from selfsyn.progress import track

    with Codecs(workers=workers) as codecs:
        found = track(answers(frames, teacher=teacher, codecs=codecs), total=len(frames), label=f"probe-gap: {name}")
        counts: NDArray[np.int64] = sum(
            confusion(answer.frame.read_label(), answer.label, classes=len(config.class_list)) for answer in found
        )  # type: ignore[assignment]
    return scores(counts, protocol=config.protocol)


def _finish(started: Started, result: dict[str, dict[str, Any]], *, images: int, teacher: Teacher) -> None:
    from selfsyn.files import digest_file, write_json
    from selfsyn.phase import finish

    write_json(started.folder / METRICS, result)
    click.echo("\n".join(_table(result)))
    counts = {"images": images, "teacher": teacher.digest}
    kept = (*TITLES.values(), "agreement_source", "agreement_adapted")
    counts |= {f"{name}_{key}": some[key] for name, some in result.items() for key in kept if key in some}
    finish(started, outputs={METRICS: digest_file(started.folder / METRICS)}, counts=counts, device=teacher.provider)


def _table(result: dict[str, dict[str, Any]]) -> list[str]:
    """Rows: each class, mIoU, pixel accuracy, in percent. Columns: synthetic images, then each kind of adapted images with
    its difference from the first column."""
    before = result["synthetic"]
    rows = [(name, [some["class_iou"][name] for some in result.values()]) for name in before["class_iou"]]
    rows += [(title, [some[key] for some in result.values()]) for title, key in TITLES.items()]
    lines = [
        f"{title:<16}{100 * was:>10.1f}" + "".join(f"{100 * now:>10.1f}{100 * (now - was):>+8.1f}" for now in others)
        for title, (was, *others) in rows
        if was is not None
    ]
    first, *names = (name.removeprefix("without-").rjust(10) for name in result)
    without = (
        ["a column with the name of a loss: images of an adapter that was fitted without this loss"] if len(result) > 2 else []
    )
    return [
        f"{before['protocol']}, percent: the oracle on synthetic and on adapted images",
        *without,
        f"{'':<16}{first}" + "".join(f"{name}{'':>8}" for name in names).rstrip(),
        *lines,
    ]
