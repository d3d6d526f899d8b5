"""The command line. It imports a verb's module only when the verb is called, so that labelling needs no torch."""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
from types import FrameType

import click

from selfsyn.cores import openmp
from selfsyn.errors import FaultError, InputError, NotReadyError
from selfsyn.files import OF_PATHS
from selfsyn.packages import image
from selfsyn.stopping import EXIT_CODE
from selfsyn.verbs import VERBS

EXTRAS = {"serve": "'selfsyn[serve]'", "k8s": "'selfsyn[k8s]'", "coordinate": "'selfsyn[k8s]'"}  # what pip installs for a verb
OURS = ("selfsyn", "export", "jobs")


class Verbs(click.Group):
    """Finds a verb by its name: `export-teacher` is `command` in jobs/export_teacher.py."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the flow."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        """Import the verb's module and return its command. UsageError for an unknown name."""
        if name not in VERBS:
            close = difflib.get_close_matches(name, VERBS, n=1)
            words = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(VERBS)}"
            raise click.UsageError(f"no such command {name!r}; {words}", ctx)
        module = importlib.import_module(f"jobs.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="selfsyn")
def cli() -> None:
    """Train segmentation nets for real street images from synthetic labels. Commands are in the order of a run."""


def main() -> None:
    """Run a verb. A user's mistake prints one line on stderr and sets the exit code."""
    for name, value in openmp().items():  # before torch is imported
        os.environ.setdefault(name, value)
    # Linux ignores SIGTERM for the first process of a container unless that process has a handler.
    # A phase that writes checkpoints replaces this handler (selfsyn.stopping).
    signal.signal(signal.SIGTERM, _leave)
    # The container images set 0002, so that other users of the group can write to a shared volume.
    if "SELFSYN_UMASK" in os.environ:
        os.umask(int(os.environ["SELFSYN_UMASK"], 8))
    try:
        cli.main(prog_name="selfsyn", standalone_mode=False)
    except (InputError, NotReadyError, FaultError) as error:
        click.echo(f"selfsyn: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in OF_PATHS or error.filename is None:
            raise
        click.echo(f"selfsyn: {error.filename!s:.300}: {error.strerror}; give another path", err=True)
        sys.exit(InputError.exit_code)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("", *OURS):
            raise
        click.echo(f"selfsyn: {_without(package)}", err=True)
        sys.exit(InputError.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        verb = next((word for word in sys.argv[1:2] if word in VERBS), "")
        command = getattr(getattr(error, "ctx", None), "command_path", f"selfsyn {verb}".rstrip())
        click.echo(f"{command}: {error.format_message().rstrip('.')}; see `{command} --help`", err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)


def _without(package: str) -> str:
    """Where the verb of this command line finds a package that is not installed here."""
    verb = next(word for word in sys.argv[1:] if word in VERBS)
    needs = f"`selfsyn {verb}` needs the package {package}"
    if not image():
        return f"{needs}, which is not installed here; run `pip install {EXTRAS.get(verb, 'selfsyn')}`"
    right = VERBS[verb].image
    where = (
        f"run it in the image selfsyn-{right}" if right else f"run it outside of our images, after `pip install {EXTRAS[verb]}`"
    )
    return f"{needs}, which the image {image()} does not have; {where}"


def _leave(number: int, frame: FrameType | None) -> None:
    # Exit at once: every phase survives a kill, and an exception raised here could interrupt any statement.
    os._exit(EXIT_CODE)


if __name__ == "__main__":
    main()
