"""`selfsyn pseudo-label`: the previous round's teacher labels one shard of the real images. Never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.options import (
    check_shard,
    dry_run_option,
    force_option,
    run_option,
    shard_option,
    shards_option,
    teacher_device_option,
    workers_option,
)

if TYPE_CHECKING:
    from export.teacher import Teacher
    from selfsyn.data.frames import Frame
    from selfsyn.phase import Started


@click.command()
@run_option
@click.option(
    "--round", "round_", type=click.IntRange(1), required=True, help="The round that will learn from the labels: 1, 2, ..."
)
@shard_option
@shards_option
@teacher_device_option
@workers_option
@force_option
@dry_run_option
def command(
    root: Path, round_: int, shard: int, shards: int, device: str, workers: int | None, force: bool, dry_run: bool
) -> None:
    """Label the real images with the teacher of the round before.

    Every pixel keeps its class and its confidence; which of them count is decided when training reads them. Stopped at
    any moment and run again, it goes on with the images that are missing. Images are dealt out to shards in turn. An image
    that cannot be read is named in the index and left out; run.toml says how many may be (teacher.unreadable).
    """
    from selfsyn.data import sources
    from selfsyn.flow import pseudo_label_phase
    from selfsyn.phase import begin, is_done, open_run, require
    from selfsyn.progress import say
    from selfsyn.stage import round_stage

    layout, config = open_run(root)
    check_shard(shard, shards=shards)
    phase = pseudo_label_phase(config, round_=round_, shard=shard, shards=shards)
    if dry_run:
        click.echo(f"{phase.name}: reads {', '.join((*phase.needs, 'the real images'))}; writes {layout.root / phase.folder}")
        return
    if is_done(layout, phase, sources=lambda: sources.digests(layout, config, [sources.REAL]), force=force):
        say(f"{phase.name}: already done")
        return

    from export.pipeline import lanes
    from export.teacher import load, usable_device
    from selfsyn.cores import usable_cores

    if device not in ("auto", "cpu"):
        usable_device(device)  # first: whatever else is missing, without the device it will not go
    require(layout, phase)
    frames, digest = sources.listed_real(layout, config)
    started = begin(layout, config, phase, sources={sources.REAL: digest}, force=force)
    threads = max(1, usable_cores() // lanes(workers=workers))
    precision = config.teacher.precision
    teacher = load(layout.teacher(round_stage(round_ - 1)), device=device, threads=threads, precision=precision)
    roots = [layout.resolve(source.root) for source in config.real]
    spoiled = config.teacher.spoiled_of(len(frames))
    _label(started, frames[shard::shards], teacher=teacher, roots=roots, workers=workers, spoiled=spoiled)


def _label(
    started: Started, frames: list[Frame], *, teacher: Teacher, roots: list[Path], workers: int | None, spoiled: int
) -> None:
    from export.pipeline import Codecs, label_frames, write_index
    from selfsyn.phase import finish
    from selfsyn.progress import track
    from selfsyn.stopping import Stopping

    stopping = Stopping()
    with Codecs(workers=workers) as codecs:
        labelled = label_frames(frames, teacher=teacher, folder=started.folder, roots=roots, codecs=codecs)
        watched = stopping.watched(track(labelled, total=len(frames), label=started.phase.name))
        written = write_index(started.folder, labelled=watched, spoiled=spoiled)
    counts = {"images": written.images, "teacher": teacher.digest}
    if written.skipped:
        counts |= {"skipped": written.skipped, "skipped_at_most": spoiled}
    finish(started, outputs=written.outputs, counts=counts, device=teacher.provider)
