"""`selfsyn adapt`: every synthetic image in the look of the real ones, with its label."""

from __future__ import annotations

from pathlib import Path

import click

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

    Stopped at any moment and run again, it goes on with the images that are missing. Images are dealt out to shards in
    turn, and how many shards there are changes no image.
    """
    from selfsyn.data import sources
    from selfsyn.flow import adapt_phase
    from selfsyn.phase import begin, finish, is_done, open_run, require
    from selfsyn.progress import say

    layout, config = open_run(root)
    check_shard(shard, shards=shards)
    phase = adapt_phase(config, shard=shard, shards=shards)
    if dry_run:
        click.echo(f"{phase.name}: reads {', '.join(phase.needs)}; writes {layout.root / phase.folder}")
        return
    if is_done(layout, phase, sources=lambda: sources.digests(layout, config, [sources.SYNTHETIC]), force=force):
        say(f"{phase.name}: already done")
        return

    from selfsyn import devices
    from selfsyn.adapter.adapt import adapt, load_generator
    from selfsyn.adapter.fit import WEIGHTS
    from selfsyn.stopping import Stopping

    target = devices.resolve(device)  # first: whatever else is missing, without the device it will not go
    require(layout, phase)
    devices.set_deterministic()
    frames, digest = sources.synthetic(layout, config)
    frames = frames[shard::shards]
    generator = load_generator(layout.adapter / WEIGHTS, adapter=config.adapter, device=target)
    started = begin(layout, config, phase, sources={sources.SYNTHETIC: digest}, force=force)
    outputs = adapt(
        generator,
        frames,
        size=config.adapted_size,
        seed=config.seed,
        folder=started.folder,
        workers=devices.worker_count(workers),
        stopping=Stopping(),
    )
    finish(started, outputs=outputs, counts={"images": len(frames)}, device=devices.describe(target))
