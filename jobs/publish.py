"""`selfsyn publish`: adds a round's teacher to a model repository as its next version. Never imports torch."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.options import FOLDER, dry_run_option, run_option


@click.command()
@run_option
@click.option("--round", "round_", type=click.IntRange(0), required=True, help="The round whose teacher to publish: 0, 1, 2, ...")
@click.option(
    "--to",
    "repository",
    type=FOLDER,
    required=True,
    help="The model repository in Triton's layout; created if it does not exist.",
)
@dry_run_option
def command(root: Path, round_: int, repository: Path, dry_run: bool) -> None:
    """Add a finished teacher to a model repository.

    The teacher becomes the next version. It is added atomically; a running server (`selfsyn serve`, Triton, KServe)
    switches to it. A model that the repository already has is not added again. To return to an older version, remove the
    folders of the newer versions.
    """
    from export.publish import finished_files, publish
    from export.repository import model_folder
    from selfsyn.phase import open_run
    from selfsyn.progress import say
    from selfsyn.stage import round_stage

    layout, _ = open_run(root)
    teacher = layout.teacher(round_stage(round_))
    if dry_run:
        finished_files(teacher)
        click.echo(f"publish: reads {teacher}; adds a version to {model_folder(repository)}")
        return
    published = publish(teacher, repository=repository)
    where = f"version {published.version} of {model_folder(repository)}"
    if published.new:
        say(f"publish: {round_stage(round_)}'s teacher {published.digest} is now {where}")
        return
    newest = "" if published.version == published.newest else f"; the newest is version {published.newest}"
    say(f"publish: already done: teacher {published.digest} is {where}{newest}")
