"""`selfsyn pseudo-label`: labels a shard of the real images with the previous round's teacher. Never imports torch."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.beginning import Job, opened
from jobs.options import (
    check_shard,
    dry_run_option,
    force_option,
    pack_option,
    run_option,
    shard_option,
    shards_option,
    teacher_device_option,
    workers_option,
)
from selfsyn.flow import pseudo_label_phase
from selfsyn.stage import Stage, round_stage
from selfsyn.verbs import REAL


@click.command()
@run_option
@click.option(
    "--round", "round_", type=click.IntRange(1), required=True, help="The round that will train on the labels: 1, 2, ..."
)
@shard_option
@shards_option
@teacher_device_option
@workers_option
@pack_option
@force_option
@dry_run_option
def command(
    root: Path, round_: int, shard: int, shards: int, device: str, workers: int | None, pack: bool, force: bool, dry_run: bool
) -> None:
    """Label real images with the previous round's teacher.

    Stores the class and the confidence of every pixel; training decides which pixels it uses. If the command was
    interrupted, run it again: it labels the images that are missing. Image I goes to shard I mod N. Unreadable images are
    skipped and listed in the index; teacher.unreadable in run.toml limits how many there may be.
    """
    check_shard(shard, shards=shards)
    job = opened(
        root,
        lambda config: pseudo_label_phase(config, round_=round_, shard=shard, shards=shards),
        force=force,
        dry_run=dry_run,
    )
    if job is not None:
        job.teacher_device(device)
        _label(job, round_stage(round_ - 1), shard=shard, shards=shards, device=device, workers=workers, pack=pack)


def _label(job: Job, stage: Stage, *, shard: int, shards: int, device: str, workers: int | None, pack: bool) -> None:
    """Label the shard with the teacher of `stage`."""
    from export.pipeline import Codecs, label_frames, write_index
    from selfsyn.data import sources
    from selfsyn.phase import finish
    from selfsyn.progress import track
    from selfsyn.stopping import Stopping

    layout, config = job.layout, job.config
    listed, digest = sources.listed_real(layout, config)
    frames, spoiled = listed[shard::shards], config.teacher.spoiled_of(len(listed))
    roots = [layout.resolve(source.root) for source in config.real]
    teacher, stopping = job.teacher(stage, device=device, workers=workers), Stopping()
    started = job.begin({REAL: digest})
    with Codecs(workers=workers) as codecs:
        labelled = label_frames(frames, teacher=teacher, folder=started.folder, roots=roots, codecs=codecs, pack=pack)
        watched = stopping.watched(track(labelled, total=len(frames), label=started.phase.name))
        written = write_index(started.folder, labelled=watched, spoiled=spoiled, classes=len(config.class_list))
    counts = {"images": written.images, "teacher": teacher.digest}
    if written.skipped:
        counts |= {"skipped": written.skipped, "skipped_at_most": spoiled}
    finish(started, outputs=written.outputs, counts=counts, device=teacher.provider)
