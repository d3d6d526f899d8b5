"""No option without a figure: each one is set by a recipe, used by a rival, or named with its figure in benchmarks/RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from selfsyn import config, recipes
from selfsyn.compare.levers import LEVERS
from selfsyn.compare.rivals import RIVALS

RESULTS = (Path(__file__).parent.parent / "benchmarks/RESULTS.md").read_text()
SECTIONS = {"rounds": config.Rounds, "teacher": config.Teacher, "train": config.Train, "student": config.Student}


def keys(table: Mapping[str, Any], *, prefix: str = "") -> Iterator[str]:
    """'train.steps' of {'train': {'steps': 1}}."""
    for name, value in table.items():
        yield from keys(value, prefix=f"{prefix}{name}.") if isinstance(value, Mapping) else [prefix + name]


def of_rivals() -> set[str]:
    """The keys that a rival's row sets: those that are not at their default there."""
    demo = recipes.read("demo")
    plain = config.flat(
        config.from_mapping({key: demo[key] for key in ("recipe", "seed", "size", "synthetic", "real", "adapter")})
    )
    rows = [config.flat(row.settings(config.from_mapping(demo), 2)) for row in RIVALS]
    return {key for row in rows for key, value in row.items() if plain.get(key) != value}


def options() -> Iterator[str]:
    for section, kind in SECTIONS.items():
        for item in fields(kind):
            inside = fields(config.Augment) if (section, item.name) == ("train", "augment") else ()
            yield from (f"{section}.augment.{part.name}" for part in inside)
            yield from [] if inside else [f"{section}.{item.name}"]


OF_RECIPES = {key for name in recipes.names() for key in keys(recipes.read(name))}
USED = OF_RECIPES | of_rivals()


@pytest.mark.parametrize("key", [*options()])
def test_every_option_is_used_or_has_a_figure(key: str) -> None:
    like_the_task = key.replace("student.", "task.")  # a student's keys are the task's
    assert key in USED or like_the_task in USED or f"`{key}`" in RESULTS or f"`{like_the_task}`" in RESULTS, (
        f"{key}: no recipe sets it, no rival uses it, and benchmarks/RESULTS.md does not name it"
    )


def test_an_option_that_nobody_uses_would_be_found() -> None:
    assert "rounds.soft" not in USED and "`rounds.soft`" not in RESULTS
    assert "task.drop_path" not in USED and "`task.drop_path`" in RESULTS


@pytest.mark.parametrize("recipe", ["demo", "world-camvid", "world-camvid-vit"])
def test_other_starts_train_nothing_on_top(recipe: str) -> None:
    found = config.from_mapping(config.with_settings(recipes.read(recipe), ("real.root=x", "held_out=")))
    off = {lever.name: lever.off(found) for lever in LEVERS if lever.name in ("warm-start", "plain-start")}
    rounds = range(found.last_round + 1)
    assert all(off["warm-start"].rounds.start_of(round_) == "fresh" for round_ in rounds)
    if found.rounds.start_of(0) == "fresh":  # then source-only is no part of ours
        assert off["plain-start"].rounds.start_of(0) == "fresh"
    if all(found.rounds.start_of(round_) == "fresh" for round_ in rounds):
        assert off["warm-start"] is found
