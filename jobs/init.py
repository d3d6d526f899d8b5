"""`selfsyn init`: a recipe and the user's settings become run.toml."""

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
    """Write the run.toml of a new run from a recipe or a TOML file.

    The same configuration again is fine; another one in the same run folder is refused with the difference.
    """
    path = recipes.write_run(root, recipe=recipe, settings=settings)
    click.echo(f"{path}: written; next: selfsyn round --run {root}")
