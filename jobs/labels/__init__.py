"""`selfsyn labels`: looks at the pseudo-labels of a round, and hands them to people. Never imports torch."""

from __future__ import annotations

import click

from jobs.labels.export import export
from jobs.labels.importing import import_
from jobs.labels.review import review
from jobs.labels.show import show


@click.group("labels")
def command() -> None:
    """Look at the pseudo-labels of a round, or hand them to a labelling tool.

    `selfsyn labels show IMAGE --run DIR` explains the labels of an image. `selfsyn labels review --run DIR` lists images, the
    most doubtful first. `selfsyn labels export --run DIR --to FOLDER --as TOOL` writes a folder for a tool, and `selfsyn labels
    import --run DIR --from FOLDER --as TOOL` takes corrected masks back.
    """


for _part in (show, review, export, import_):
    command.add_command(_part)
