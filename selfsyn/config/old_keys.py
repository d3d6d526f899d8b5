"""Keys that earlier versions had: renamed ones load with a notice, removed ones load at the value that they had by default."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

from selfsyn.errors import InputError
from selfsyn.progress import say

RENAMED: dict[str, str] = {
    "rounds.align.channels": "rival.discriminator_channels",
}
# Removed because no figure supports them -> their old defaults, with which a configuration still means the same.
REMOVED: dict[str, Any] = {
    "rounds.align.auxiliary": 0.0,
    "rounds.align.features": 0.0,
    "rounds.align.gate": 0.0,
    "rounds.align.learning_rate": 1e-4,
    "rounds.align.least_squares": False,
    "rounds.align.main": 0.0,
    "rounds.apart": False,
    "rounds.confidence": False,
    "rounds.memory": 0.0,
    "rounds.refit": False,
    "rounds.soft": 0.0,
    "rounds.stop_agreement": 0.0,
    "rounds.unadapted": 0.0,
    "teacher.prior": 0.0,
    "train.decay": "poly",
}


def updated(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as this version writes them. InputError for a removed key with another value than its default."""
    result: dict[str, Any] = copy.deepcopy(dict(values))
    for key, default in REMOVED.items():
        value = _taken(result, key, default)
        if value != default:
            raise InputError(
                f"run.toml: {key} is {value!r}, but that key was removed;"
                " delete it, or finish this run with the version of selfsyn that began it"
            )
    for old in RENAMED:
        missing = object()
        value = _taken(result, old, missing)
        if value is not missing:
            _put(result, current(old), value)
    return result


def current(key: str) -> str:
    """Today's name of a dotted key; says so, once, when it has been renamed."""
    if key in RENAMED:
        _say_renamed(key, RENAMED[key])
    return RENAMED.get(key, key)


@cache
def _say_renamed(old: str, new: str) -> None:
    say(f"run.toml: {old} is now called {new}")


def _taken(values: dict[str, Any], key: str, default: Any) -> Any:
    """Remove a dotted key -> its value, or `default`. A table that is empty afterwards goes with it."""
    table, _, rest = key.partition(".")
    if not rest:
        return values.pop(table, default)
    inside = values.get(table)
    if not isinstance(inside, dict):
        return default
    value = _taken(inside, rest, default)
    if not inside:
        del values[table]
    return value


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *tables, leaf = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
    if leaf in values:
        raise InputError(f"run.toml: {key} is there twice, once under its old name; remove the old one")
    values[leaf] = value
