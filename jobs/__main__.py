"""The command line: verbs in the order of the flow. A verb is imported when called: labelling needs no torch."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
from types import FrameType

import click

from selfsyn.cores import openmp
from selfsyn.errors import FaultError, InputError, NotReadyError
from selfsyn.stopping import EXIT_CODE
from selfsyn.verbs import VERBS

OF_PATHS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EROFS)  # a path that the user must change


class Verbs(click.Group):
    """Finds the verb `export-teacher` as `command` in jobs/export_teacher.py."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the flow."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb's command, imported now; None for a word that is no verb."""
        if name not in VERBS:
            return None
        module = importlib.import_module(f"jobs.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="selfsyn")
def cli() -> None:
    """Learn to segment the real street from synthetic labels. Verbs in the order of the flow; each can be run again."""


def main() -> None:
    """Run a verb; a user's mistake becomes one line on stderr and its exit code."""
    for name, value in openmp().items():  # before torch is imported
        os.environ.setdefault(name, value)
    # The first process of a container has no default for SIGTERM: without a handler it would be ignored until the kill.
    # A phase that has something to save sets its own (selfsyn.stopping).
    signal.signal(signal.SIGTERM, _leave)
    # A shared volume may be written by another user of the same group tomorrow: the images ask for 0002.
    if "SELFSYN_UMASK" in os.environ:
        os.umask(int(os.environ["SELFSYN_UMASK"], 8))
    try:
        cli.main(standalone_mode=False)
    except (InputError, NotReadyError, FaultError) as error:
        click.echo(f"selfsyn: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in OF_PATHS or error.filename is None:
            raise
        click.echo(f"selfsyn: {error.filename!s:.300}: {error.strerror}; give another path", err=True)
        sys.exit(InputError.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)


def _leave(number: int, frame: FrameType | None) -> None:
    # At once, as by a kill, which every phase survives: an exception here could land in the middle of anything.
    os._exit(EXIT_CODE)


if __name__ == "__main__":
    main()
