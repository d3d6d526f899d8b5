"""`selfsyn export-teacher`: a stage's trained net -> one ONNX file that answers as the net does."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.options import bound_option, dry_run_option, force_option, round_option, run_option, stage_of

if TYPE_CHECKING:
    from selfsyn.config import RunConfig
    from selfsyn.data.frames import Frame
    from selfsyn.phase import Started

WEIGHTS = "weights.safetensors"
PARITY = "parity.json"


@click.command()
@run_option
@round_option
@bound_option
@force_option
@dry_run_option
def command(root: Path, round_: int | None, bound: str | None, force: bool, dry_run: bool) -> None:
    """Export a stage's task model to ONNX.

    The file carries its own pre- and post-processing: uint8 images in, classes and confidences out. It is compared with
    the trained net on real images; one that differs is not written.
    """
    from selfsyn.data.sources import real
    from selfsyn.flow import export_phase
    from selfsyn.phase import begin, finish, open_run, require
    from selfsyn.progress import say

    layout, config = open_run(root)
    stage = stage_of(round_, bound)
    phase = export_phase(config, stage=stage)
    if dry_run:
        reads = ", ".join((*phase.needs, "the real images (four of them, for the comparison)"))
        click.echo(f"{phase.name}: reads {reads}; writes {layout.root / phase.folder}")
        return
    require(layout, phase)
    frames, digest = real(layout, config)
    started = begin(layout, config, phase, sources={"real": digest}, force=force)
    if started is None:
        say(f"{phase.name}: already done")
        return
    outputs, counts = _export(started, config, stage=stage, weights=layout.task(stage) / WEIGHTS, frames=frames)
    finish(started, outputs=outputs, counts=counts)


def _export(
    started: Started, config: RunConfig, *, stage: str, weights: Path, frames: list[Frame]
) -> tuple[dict[str, str], dict[str, float]]:
    # Imported here: `selfsyn --help` must work where torch is not installed.
    from export import contract, parity
    from export.teacher import Teacher
    from export.to_onnx import Segmenter, to_onnx
    from selfsyn import task as task_models
    from selfsyn.files import digest_file, write_atomic, write_json
    from selfsyn.labels import CLASSES

    net = task_models.build(config.task, pretrained=False)
    task_models.load_weights(net, weights)
    metadata = contract.Metadata(
        classes=CLASSES,
        mean=config.task.mean,
        std=config.task.std,
        size=config.size,
        checkpoint=digest_file(weights),
        stage=stage,
        program=importlib.metadata.version("selfsyn"),
    )
    segmenter = Segmenter(net, task=config.task)
    model = to_onnx(segmenter, metadata=metadata)
    teacher = Teacher(model, device="cpu")
    images = parity.examples([frame.image for frame in frames], size=config.size)
    result = parity.compare(segmenter, teacher, images=images)
    write_json(started.folder / PARITY, result)
    parity.refuse_difference(result, name=started.phase.name)
    write_atomic(started.folder / contract.CONFIGURATION_FILE, contract.triton_configuration().encode())
    write_atomic(started.folder / contract.MODEL_FILE, model)
    mismatches = sum(case["mismatches"] for case in result["cases"])
    return {contract.MODEL_FILE: teacher.digest}, {"bytes": len(model), "parity_mismatches": mismatches}
