"""`selfsyn export-teacher`: exports a stage's trained net to ONNX and compares the file with the net."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.beginning import Job, opened
from jobs.options import bound_option, dry_run_option, force_option, round_option, run_option, stage_of
from selfsyn.flow import export_phase
from selfsyn.stage import Stage
from selfsyn.verbs import REAL

if TYPE_CHECKING:
    from export.contract import Metadata
    from export.parity import Answer, Limits
    from export.to_onnx import Segmenter
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

    The file includes pre- and post-processing: it takes uint8 images and returns classes and confidences. A second file
    has half precision, for GPUs. Both are compared with the trained net on real images; a file that differs is not written.
    """
    stage = stage_of(round_, bound)
    job = opened(root, lambda config: export_phase(config, stage=stage), force=force, dry_run=dry_run)
    if job is None:
        return

    from selfsyn.data import sources
    from selfsyn.phase import finish, require

    require(job.layout, job.phase)
    frames, digest = sources.real(job.layout, job.config)
    segmenter, metadata = _segmenter(job, stage)
    started = job.begin({REAL: digest})
    images = [frame.image for frame in frames]
    outputs, counts = _export(started, segmenter, metadata, images=images, graphs=job.layout.graphs)
    finish(started, outputs=outputs, counts={**counts, **job.config.net_of(stage)})


def _segmenter(job: Job, stage: Stage) -> tuple[Segmenter, Metadata]:
    """-> the stage's trained net with pre- and post-processing, and the metadata of its ONNX file."""
    from export import contract
    from export.to_onnx import Segmenter
    from selfsyn import task as task_models
    from selfsyn.files import digest_file

    classes = job.config.class_list
    task, weights = job.config.task_of(stage), job.layout.task(stage) / WEIGHTS
    net = task_models.build(task, pretrained=False, classes=len(classes))
    task_models.load_weights(net, weights)
    metadata = contract.Metadata(
        classes=classes.names,
        mean=task.mean,
        std=task.std,
        size=job.config.size,
        checkpoint=digest_file(weights),
        stage=stage.name,
        program=importlib.metadata.version("selfsyn"),
        colours=contract.colours_of(classes),
    )
    return Segmenter(net, task=task, teacher=job.config.teacher_of(stage)), metadata


def _export(
    started: Started, segmenter: Segmenter, metadata: Metadata, *, images: list[Path], graphs: Path
) -> tuple[dict[str, str], dict[str, float | str]]:
    """Compare the files with the net, write those that pass -> their digests, and the manifest's counts."""
    from export import contract, parity
    from export.graph import halved
    from export.to_onnx import to_onnx
    from selfsyn.files import digest_bytes, write_atomic, write_json

    net_answers = parity.answers(segmenter, parity.examples(images, size=started.config.size))
    model = to_onnx(segmenter, metadata=metadata, graphs=graphs)
    models = {contract.FP32: model, contract.FP16: halved(model)}
    limits = {precision: parity.limits_of(segmenter, precision=precision) for precision in models}
    results = {precision: _compared(net_answers, models[precision], limits=limits[precision]) for precision in models}
    write_json(started.folder / PARITY, results[contract.FP32] | {contract.FP16: results[contract.FP16]})
    models = _passed(models, results, needed=(contract.FP32, started.config.teacher.precision), name=started.phase.name)
    write_atomic(started.folder / contract.CONFIGURATION_FILE, contract.triton_configuration().encode())
    for precision, data in models.items():
        write_atomic(started.folder / contract.FILES[precision], data)
    mismatches = sum(case["mismatches"] for case in results[contract.FP32]["cases"])
    outputs = {contract.FILES[precision]: digest_bytes(data) for precision, data in models.items()}
    return outputs, {"bytes": len(model), "parity_mismatches": mismatches, "views": len(segmenter.views)}


def _compared(net: list[Answer], model: bytes, *, limits: Limits) -> dict[str, Any]:
    """Compare one file with the net -> its entry of parity.json. FaultError when its golden picture gives another answer."""
    from export import parity
    from export.teacher import Teacher

    teacher = Teacher(model, device="cpu")
    teacher.check()
    return parity.compare(net, teacher, scores=parity.scorer(model), limits=limits)


def _passed(models: dict[str, bytes], results: dict[str, Any], *, needed: tuple[str, ...], name: str) -> dict[str, bytes]:
    """-> the models within their limits; the log names the others. FaultError when a needed model is beyond its limits."""
    from export import parity
    from selfsyn.progress import say

    faults = {precision: parity.fault_of(results[precision]) for precision in models}
    for precision, fault in faults.items():
        if fault and precision in needed:
            parity.refuse_difference(results[precision], name=f"{name}, {precision}")
        elif fault:
            say(f"no {precision} file: {fault}")
    return {precision: model for precision, model in models.items() if not faults[precision]}
