"""`selfsyn adapt`: translates every synthetic image into the style of the real images; keeps its label."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.beginning import opened
from jobs.options import (
    check_shard,
    device_option,
    dry_run_option,
    force_option,
    run_option,
    shard_option,
    shards_option,
    workers_option,
)
from selfsyn.flow import adapt_phase
from selfsyn.verbs import SYNTHETIC


@click.command()
@run_option
@shard_option
@shards_option
@device_option
@workers_option
@force_option
@dry_run_option
def command(root: Path, shard: int, shards: int, device: str, workers: int | None, force: bool, dry_run: bool) -> None:
    """Translate every synthetic image with the fitted adapter. Labels are kept, as train ids at the same size.

    If the command was interrupted, run it again: it translates the images that are missing. Image I goes to shard
    I mod N. The number of shards changes no image.
    """
    check_shard(shard, shards=shards)
    job = opened(root, lambda config: adapt_phase(config, shard=shard, shards=shards), force=force, dry_run=dry_run)
    if job is None:
        return

    from selfsyn import devices
    from selfsyn.adapter.adapt import adapt, load_generator
    from selfsyn.adapter.fit import WEIGHTS
    from selfsyn.data import sources
    from selfsyn.phase import finish
    from selfsyn.stopping import Stopping

    target = job.torch_device(device)
    frames, digest = sources.synthetic(job.layout, job.config)
    frames = frames[shard::shards]
    generator = load_generator(job.layout.adapter / WEIGHTS, adapter=job.config.adapter, device=target)
    started = job.begin({SYNTHETIC: digest})
    outputs = adapt(
        generator,
        frames,
        size=job.config.adapted_size,
        seed=job.config.seed,
        folder=started.folder,
        workers=devices.worker_count(workers),
        stopping=Stopping(),
        classes=job.config.class_list,
    )
    finish(started, outputs=outputs, counts={"images": len(frames)}, device=devices.describe(target))
