"""`selfsyn demo`: init and round on the built-in street world."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from jobs.options import bounds_option, device_option, run_option, set_option
from selfsyn import recipes


@click.command()
@run_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The seed of the world and the nets.")
@click.option("--rounds", type=click.IntRange(0), default=2, show_default=True, help="The last round.")
@bounds_option
@device_option
@set_option
def command(root: Path, seed: int, rounds: int, with_bounds: bool, device: str, settings: tuple[str, ...]) -> None:
    """Run the whole method on the built-in street world.

    Writes a report. Needs no data, no GPU and only some minutes.
    """
    recipes.write_run(root, recipe="demo", settings=(f"seed={seed}", *settings))
    bounds = ["--with-bounds"] if with_bounds else []
    arguments = ["round", "--run", str(root), "--rounds", str(rounds), "--device", device, *bounds]
    # `round` replaces this process, so that it receives the signals and sets the exit code.
    os.execv(sys.executable, [sys.executable, "-m", "jobs", *arguments])
