"""The configuration: what it accepts, what it refuses and how, and that it survives the disk."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from selfsyn import config, recipes
from selfsyn.errors import InputError

ROOTS = ("synthetic.root=s", "real.root=r", "held_out.root=h")


def values(**changes: object) -> dict[str, object]:
    base: dict[str, object] = {
        "recipe": "test",
        "seed": 0,
        "size": [64, 64],
        "synthetic": {"layout": "gta5", "root": "a"},
        "real": {"layout": "cityscapes", "root": "b"},
        "adapter": {"crop": 64},
    }
    return base | changes


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_builds_and_survives_the_disk(name: str, tmp_path: Path) -> None:
    path = recipes.write_run(tmp_path / "run", recipe=name, settings=ROOTS)
    loaded = config.load(path)
    assert config.from_mapping(tomllib.loads(config.to_toml(loaded))) == loaded
    assert loaded.recipe == name


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown key train\.setps; did you mean train\.steps\?"):
        config.from_mapping(values(train={"setps": 3}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "zero"}, "seed is 'zero'; expected int"),
        ({"seed": True}, "seed is True; expected int"),
        ({"size": [64]}, "size is \\[64\\]; expected a list of 2 int"),
        ({"size": [64, 50]}, "multiples of 4"),
        ({"adapter": {"crop": 64, "identity": 0.0}}, "adapter.identity is 0.0; expected above 0"),
        ({"adapter": {"crop": 128}}, "adapter.crop is 128; expected at most the shorter side"),
        ({"rounds": {"real_share": [0.5]}}, "real_share starts with 0.5; expected 0"),
        ({"rounds": {"portion": [0.0]}}, "expected shares in \\(0, 1\\]"),
        ({"task": {"architecture": "unet"}}, "'unet'; expected one of deeplabv3plus, fcn, segnet"),
        ({"held_out": {"layout": "camvid", "root": "x", "protocol": "voc"}}, "protocol 'voc' is not known"),
        ({"train": 3}, "train is 3; expected a table"),
    ],
)
def test_wrong_values_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config.from_mapping(values(**changes))


def test_a_missing_value_says_how_to_set_it() -> None:
    incomplete = values()
    del incomplete["real"]["root"]  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"real\.root is missing; set it with --set real\.root=VALUE"):
        config.from_mapping(incomplete)


def test_settings_reach_their_field_and_integers_become_floats() -> None:
    changed = config.with_settings(values(), ("train.learning_rate=1", "real.root=/data/x y", "rounds.portion=[0.3, 0.4]"))
    built = config.from_mapping(changed)
    assert (built.train.learning_rate, built.real.root, built.rounds.portion) == (1.0, "/data/x y", (0.3, 0.4))


def test_a_round_beyond_the_schedule_takes_its_last_value() -> None:
    rounds = config.Rounds(real_share=(0.0, 0.25, 0.5), portion=(0.2, 0.4))
    assert [rounds.real_share_of(k) for k in (0, 1, 2, 9)] == [0.0, 0.25, 0.5, 0.5]
    assert [rounds.portion_of(k) for k in (1, 2, 9)] == [0.2, 0.4, 0.4]


def test_the_difference_names_each_leaf() -> None:
    before = config.from_mapping(values())
    after = config.from_mapping(values(seed=3, train={"steps": 7}))
    assert config.difference(before, after) == ["seed: 0 -> 3", "train.steps: 40000 -> 7"]
