"""`selfsyn train`: trains the task model of a stage."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.beginning import Job, opened
from jobs.options import (
    bound_option,
    device_option,
    dry_run_option,
    force_option,
    processes_option,
    round_option,
    run_option,
    stage_of,
    workers_option,
)
from selfsyn.flow import train_phase
from selfsyn.progress import say
from selfsyn.stage import SOURCE_ONLY, Stage

if TYPE_CHECKING:
    import torch

    from selfsyn.data.frames import Frame
    from selfsyn.phase import Started
    from selfsyn.task.mixture import Mixture
    from selfsyn.task.stages import Sources
    from selfsyn.task.train import TrainState


@click.command()
@run_option
@round_option
@bound_option
@device_option
@workers_option
@processes_option
@force_option
@dry_run_option
def command(
    root: Path,
    round_: int | None,
    bound: str | None,
    device: str,
    workers: int | None,
    count: int,
    force: bool,
    dry_run: bool,
) -> None:
    """Train the task model of a stage.

    --bound source-only trains on synthetic images without adaptation; every run starts with it. Round 0 continues from it
    with adapted images. Round K continues from round K-1 and also trains on pseudo-labels of round K, with the share
    rounds.real_share. --bound oracle trains on real labels, as an upper bound; it is no result of the method.

    --processes N starts N processes with torchrun, one for each GPU, and splits each batch among them. On GPUs the result
    is that of one process, up to rounding and dropout. On CPUs it differs, because batch norm is not shared. For several
    machines, set torchrun's variables PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT.
    """
    stage = stage_of(round_, bound)
    job = opened(root, lambda config: train_phase(config, stage=stage), force=force, dry_run=dry_run)
    if job is None:
        return

    from jobs.launch import nodes
    from selfsyn import devices, processes
    from selfsyn.task.stages import check_student

    target = job.torch_device(device)
    if stage == SOURCE_ONLY:
        check_student(job.layout, job.config)
    if count * nodes() > 1 and not processes.started_together():
        raise SystemExit(_launched(job, stage, device=target, count=count))
    with processes.joined(target):
        _train(job, stage, device=target, workers=devices.worker_count(workers))


def _launched(job: Job, stage: Stage, *, device: torch.device, count: int) -> int:
    """Run this command as `count` processes -> their exit code. Checks the inputs first, so that an error is printed once."""
    from jobs.launch import launched, nodes
    from selfsyn.task.stages import sizes_of, sources_of
    from selfsyn.task.train import refuse_unshared

    sources_of(job.layout, job.config, stage=stage)
    own = job.config.of_stage(stage)
    refuse_unshared(sizes_of(job.config, stage=stage), own, ranks=count * nodes(), device=device)
    return launched(sys.argv[1:], count=count)


def _train(job: Job, stage: Stage, *, device: torch.device, workers: int) -> None:
    """Train in this process, which may be one of several."""
    from selfsyn import processes
    from selfsyn.compare.rivals import extra_terms
    from selfsyn.task.mixture import BARE
    from selfsyn.task.schedule import continued, schedule_of
    from selfsyn.task.stages import first_net, mixture_of, sources_of, statistics_images
    from selfsyn.task.train import fit

    layout, config, own = job.layout, job.config, job.config.of_stage(stage)
    drawn, sources = sources_of(layout, config, stage=stage)
    real, digests = statistics_images(layout, config, stage=stage)
    net, before = first_net(layout, config, stage=stage), continued(config, stage=stage)
    schedule = schedule_of(config, stage=stage)
    with processes.first_before_others():
        started = replace(job, force=job.force and processes.rank() == 0).begin({**sources, **digests})
    with processes.first_before_others():
        mixture = mixture_of(drawn, layout, config, stage=stage, folder=started.folder, workers=workers)
    state = fit(
        net,
        mixture,
        schedule=schedule,
        config=own,
        folder=started.folder,
        device=device,
        workers=workers,
        before=layout.task(before) if before else None,
        extra=extra_terms(own, purpose=mixture.purpose, device=device) if BARE in mixture.sizes else (),
    )
    if processes.rank() == 0:
        _re_estimate(state, real, started, device=device, workers=workers)
        _finish(started, state, mixture, drawn, steps=schedule.steps, device=device)


def _re_estimate(state: TrainState, real: list[Frame], started: Started, *, device: torch.device, workers: int) -> None:
    """AdaBN: re-estimate the batch-norm statistics on real images (rounds.adabn_share) and write the weights again."""
    from selfsyn.task.batch_norm import re_estimate, real_batches
    from selfsyn.task.train import write_weights

    if not real:
        return
    assert started.phase.stage is not None
    say(f"{started.phase.name}: re-estimates batch-norm statistics on {len(real)} real images")
    images = real_batches(real, started.config.of_stage(started.phase.stage), device=device, workers=workers)
    re_estimate(state.average.module, images, share=started.config.rounds.adabn_share)
    write_weights(state, folder=started.folder)


def _finish(started: Started, state: TrainState, mixture: Mixture, drawn: Sources, *, steps: int, device: torch.device) -> None:
    from selfsyn import devices
    from selfsyn.files import digest_file
    from selfsyn.phase import finish
    from selfsyn.task.mixture import PSEUDO
    from selfsyn.task.train import HISTORY, WEIGHTS

    assert started.phase.stage is not None
    outputs = {name: digest_file(started.folder / name) for name in (WEIGHTS, HISTORY)}
    counts = {"steps": steps, "batch": started.config.train.batch, "real_in_batch": mixture.sizes.get(PSEUDO, 0)}
    pseudo_labelled = len(drawn.pseudo.examples) if drawn.pseudo else 0
    examples = {"labelled": len(drawn.labelled.examples), "pseudo_labelled": pseudo_labelled}
    told = {"precision": state.precision, **started.config.net_of(started.phase.stage)}
    finish(started, outputs=outputs, counts={**counts, **examples, **drawn.corrected, **told}, device=devices.describe(device))
