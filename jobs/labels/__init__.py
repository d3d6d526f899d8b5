"""`selfsyn labels`: looks at the pseudo-labels of a round, and hands them to people. Never imports torch."""

from __future__ import annotations

import click

from jobs.labels.export import export
from jobs.labels.show import show


@click.group("labels")
def command() -> None:
    """Look at the pseudo-labels of a round, or hand them to a labelling tool.

    `selfsyn labels show IMAGE --run DIR` explains the labels of an image. `selfsyn labels export --run DIR --to FOLDER --as
    TOOL` writes a folder for a tool.
    """


for _part in (show, export):
    command.add_command(_part)
