"""`selfsyn init`: writes run.toml from a recipe and the user's settings."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.options import run_option, set_option
from selfsyn import recipes


@click.command(epilog=f"Recipes: {', '.join(recipes.names())}.")
@click.argument("recipe", metavar="RECIPE")
@run_option
@set_option
def command(recipe: str, root: Path, settings: tuple[str, ...]) -> None:
    """Write run.toml from a recipe or a TOML file.

    If the run folder has a run.toml already, it must hold the same configuration; otherwise the difference is shown.
    """
    path = recipes.write_run(root, recipe=recipe, settings=settings)
    click.echo(f"{path}: written; next: selfsyn doctor --run {root}")
