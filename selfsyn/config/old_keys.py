"""Keys that earlier versions had: renamed ones load with a notice, removed ones load at the value that they had by default."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from selfsyn.errors import InputError
from selfsyn.progress import say

RENAMED = {
    "adapter.pool": "adapter.image_pool",
    "rounds.align.channels": "rival.discriminator_channels",
    "rounds.class_mix": "rounds.classmix",
    "rounds.colours": "rounds.color_transfer",
    "rounds.mask": "rounds.mask_ratio",
    "rounds.mask_block": "rounds.mask_block_size",
    "rounds.online": "rounds.ema_pseudo_labels",
    "rounds.portion": "rounds.kept_fraction",
    "rounds.rare": "rounds.rcs_temperature",
    "rounds.robust": "rounds.symmetric_cross_entropy",
    "rounds.statistics": "rounds.adabn_share",
    "train.augment.colour": "train.augment.color_jitter",
    "train.head_factor": "train.head_lr_factor",
    "train.rare": "train.rcs_temperature",
}
MISSING = object()
# Old values that read differently under the new name.
VALUES: dict[str, dict[Any, Any]] = {"rounds.robust": {"": False, "symmetric": True}}
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
    "rounds.distillation": 0.0,
    "rounds.memory": 0.0,
    "rounds.refit": False,
    "rounds.soft": 0.0,
    "rounds.stop_agreement": 0.0,
    "rounds.unadapted": 0.0,
    "teacher.prior": 0.0,
    "train.augment.cutout": 0.0,
    "train.auxiliary": 0.4,
    "train.decay": "poly",
    "train.pseudo_label": 1.0,
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
    found = {key: value for key in RENAMED if (value := _taken(result, key, MISSING)) is not MISSING}
    if found:
        _say_renamed(tuple(found))
    for old, value in found.items():
        new, value = _renewed(old, value)
        if not _put(result, new, value):
            raise InputError(f"run.toml: {new} is there, and {old}, its old name, as well; delete {old}")
    return result


def renewed(key: str, value: Any) -> tuple[str, Any]:
    """A dotted key and its value -> the same as this version writes them; says so when they differ."""
    if key in RENAMED:
        _say_renamed((key,))
    return _renewed(key, value)


def _renewed(key: str, value: Any) -> tuple[str, Any]:
    word = value if isinstance(value, str) else MISSING
    return RENAMED.get(key, key), VALUES.get(key, {}).get(word, value)


@cache
def _say_renamed(keys: Sequence[str]) -> None:
    say(f"old names of keys: {', '.join(f'{key} is now {RENAMED[key]}' for key in keys)}")


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


def _put(values: dict[str, Any], key: str, value: Any) -> bool:
    """Set a dotted key -> whether it was not there before."""
    *tables, leaf = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
    return values.setdefault(leaf, value) is value
