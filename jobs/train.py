"""`selfsyn train`: one stage's task model, from whatever that stage may learn from."""

from __future__ import annotations

import sys
from pathlib import Path

import click

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
    """Train a task model.

    --bound source-only learns from the synthetic images as they are: the start of everything. Round 0 goes on with adapted
    images; round K goes on from round K-1, also with label store K, by the share that run.toml gives. --bound oracle
    learns from real labels: a bound, no result.

    --processes N starts N of them with torchrun, one for each GPU, and each batch is shared. On GPUs the result is that of one
    process, but for rounding and dropout; on CPUs it is another, for each process normalises its part of the batch by itself.
    On several machines torchrun's variables (PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR, PET_MASTER_PORT) say which is which.
    """
    from selfsyn.data import sources as data
    from selfsyn.flow import train_phase
    from selfsyn.phase import begin, finish, is_done, open_run, require
    from selfsyn.progress import say
    from selfsyn.stage import SOURCE_ONLY

    layout, config = open_run(root)
    stage = stage_of(round_, bound)
    phase = train_phase(config, stage=stage)
    if dry_run:
        click.echo(f"{phase.name}: reads {', '.join(phase.needs) or 'the data sets'}; writes {layout.root / phase.folder}")
        return
    if is_done(layout, phase, sources=lambda: data.digests(layout, config, data.of_stage(config, stage=stage)), force=force):
        say(f"{phase.name}: already done")
        return

    from jobs.launch import launched, nodes
    from selfsyn import devices, processes
    from selfsyn.files import digest_file
    from selfsyn.task.batch_norm import re_estimate, real_batches
    from selfsyn.task.schedule import continued, schedule_of
    from selfsyn.task.stages import (
        check_student,
        first_net,
        mixture_of,
        statistics_images,
        with_colours_of_real,
        with_rare_classes,
    )
    from selfsyn.task.train import HISTORY, WEIGHTS, fit, part_of, write_weights

    own = config.of_stage(stage)
    target = devices.resolve(device)  # first: whatever else is missing, without the device it will not go
    require(layout, phase)
    devices.set_deterministic()
    if stage == SOURCE_ONLY:
        check_student(config)
    if count * nodes() > 1 and not processes.started_together():
        mixture, _ = mixture_of(layout, config, stage=stage)
        part_of(mixture, own, 0, of=count * nodes(), device=target)  # a mistake is told here, once
        raise SystemExit(launched(sys.argv[1:], count=count))
    with processes.joined(target):
        mixture, sources = mixture_of(layout, config, stage=stage)
        real, digests = statistics_images(layout, config, stage=stage)
        net, schedule = first_net(layout, config, stage=stage), schedule_of(config, stage=stage)
        before = continued(config, stage=stage)
        with processes.first_before_others():
            started = begin(layout, config, phase, sources={**sources, **digests}, force=force and processes.rank() == 0)
        with processes.first_before_others():
            threads = devices.worker_count(workers)
            mixture = with_rare_classes(mixture, config, folder=started.folder, workers=threads)
            mixture = with_colours_of_real(mixture, layout, config, stage=stage, folder=started.folder, workers=threads)
        state = fit(
            net,
            mixture,
            schedule=schedule,
            config=own,
            folder=started.folder,
            device=target,
            workers=devices.worker_count(workers),
            before=layout.task(before) if before else None,
        )
        if processes.rank() > 0:
            return
        if real:
            say(f"{phase.name}: batch-norm statistics on {len(real)} real images")
            images = real_batches(real, own, device=target, workers=devices.worker_count(workers))
            re_estimate(state.average.module, images, share=config.rounds.statistics)
            write_weights(state, folder=started.folder)
        outputs = {name: digest_file(started.folder / name) for name in (WEIGHTS, HISTORY)}
        counts = {"steps": schedule.steps, "batch": config.train.batch, "real_in_batch": mixture.real}
        examples = {"labelled": len(mixture.labelled), "pseudo_labelled": len(mixture.pseudo)}
        told = {"precision": state.precision, **config.net_of(stage)}
        finish(started, outputs=outputs, counts={**counts, **examples, **told}, device=devices.describe(target))
