"""`selfsyn publish`: a round's teacher -> the next version in a served model repository. Never imports torch."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.options import dry_run_option, run_option


@click.command()
@run_option
@click.option("--round", "round_", type=click.IntRange(0), required=True, help="The round whose teacher to publish: 0, 1, 2, ...")
@click.option(
    "--to",
    "repository",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The model repository, as Triton lays it out; made when it is not there.",
)
@dry_run_option
def command(root: Path, round_: int, repository: Path, dry_run: bool) -> None:
    """Add a round's finished teacher to a served model repository, as its next version.

    The version appears whole or not at all; whoever serves the folder (`selfsyn serve`, Triton, KServe) takes it up. A model
    that is there already is not added again. To go back to an older version, remove the newer ones' folders.
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
