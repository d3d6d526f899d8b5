"""Recipes: a run's configuration as a start, one TOML file each."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from selfsyn import config as configuration
from selfsyn.errors import InputError
from selfsyn.files import write_atomic
from selfsyn.layout import Layout

ENDING = ".toml"


def names() -> list[str]:
    """The recipes that come with the program."""
    files = resources.files("selfsyn.recipes").iterdir()
    return sorted(file.name.removesuffix(ENDING) for file in files if file.name.endswith(ENDING))


def read(name: str) -> dict[str, Any]:
    """A recipe's values, or those of a TOML file (a path that ends in .toml). InputError names the known recipes."""
    if name.endswith(ENDING):
        path = Path(name)
        return {"recipe": path.stem, **configuration.read_toml(path, remedy="give a recipe's name or a TOML file")}
    if name not in names():
        raise InputError(f"recipe {name!r} is not known; expected one of {', '.join(names())}, or a file that ends in {ENDING}")
    text = (resources.files("selfsyn.recipes") / (name + ENDING)).read_text()
    return {"recipe": name, **tomllib.loads(text)}


def write_run(root: Path, *, recipe: str, settings: tuple[str, ...]) -> Path:
    """Write root/run.toml from a recipe and KEY=VALUE settings, or find the same one there; -> its path.

    InputError for an unknown layout, and when another configuration is there: a run is one configuration.
    """
    from selfsyn.data.frames import LAYOUTS, unknown_layout  # here, because `selfsyn --help` lists the recipes

    values = configuration.with_settings(read(recipe), settings)
    try:
        config = configuration.from_mapping(values)
    except InputError as error:
        if settings or not recipe.endswith(ENDING):
            raise
        raise InputError(str(error).replace("run.toml", recipe, 1)) from error
    for role, folders in (("synthetic", config.synthetic), ("real", config.real), ("held_out", [config.held_out])):
        for number, folder in enumerate(folders):
            place = f"{role}.{number}" if len(folders) > 1 else role
            if folder is not None and folder.layout not in LAYOUTS:
                raise InputError(f"run.toml: {place}: {unknown_layout(folder.layout)}")
    path = Layout(root).configuration
    if path.exists():
        changes = configuration.difference(configuration.load(path), config)
        if changes:
            raise InputError(f"{path}: there already, and differs ({'; '.join(changes)}); edit it, or choose another run folder")
    else:
        write_atomic(path, configuration.to_toml(config).encode())
    return path
