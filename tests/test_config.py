"""The configuration: what it accepts, what it refuses and how, and that it survives the disk."""

from __future__ import annotations

import json
import tomllib
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
from msgspec import Meta

from selfsyn import config, recipes
from selfsyn.config import old_keys
from selfsyn.errors import InputError
from selfsyn.stage import Stage


def roots(recipe: str) -> tuple[str, ...]:
    """A setting of every root that a recipe leaves to the user."""
    sources = recipes.read(recipe)["synthetic"]
    several = range(len(sources)) if isinstance(sources, list) else ()
    synthetic = tuple(f"synthetic.{place}.root=s{place}" for place in several) or ("synthetic.root=s",)
    return (*synthetic, "real.root=r", "held_out.root=h")


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
    path = recipes.write_run(tmp_path / "run", recipe=name, settings=roots(name))
    loaded = config.load(path)
    assert config.from_mapping(tomllib.loads(config.to_toml(loaded))) == loaded
    assert loaded.recipe == name
    assert "auxiliary_at_inference = 0.5" in config.to_toml(loaded)  # also what the recipe left at its default
    assert set(vars(loaded.task)) == {item.name for item in fields(loaded.task)}


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown key train\.setps; did you mean train\.steps\?"):
        config.from_mapping(values(train={"setps": 3}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "zero"}, "seed is 'zero'; expected an integer of at least 0"),
        ({"seed": True}, "seed is True; expected an integer"),
        ({"size": [64]}, "size is \\[64\\]; expected a list of 2 integers"),
        ({"size": [64, 50]}, "multiples of 4"),
        ({"adapter": {"crop": 64, "identity": 0.0}}, "adapter.identity is 0.0; expected a number above 0"),
        ({"adapter": {"crop": 128}}, "adapter.crop is 128; expected at most the shorter side"),
        ({"rounds": {"real_share": [0.5]}}, "real_share starts with 0.5; expected 0"),
        ({"teacher": {"views": "some"}}, "teacher.views is 'some'; expected one of every, labelling"),
        ({"rounds": {"portion": [0.0]}}, "rounds.kept_fraction is 0.0; expected a number in \\(0, 1\\]"),
        ({"task": {"architecture": "unet"}}, "'unet'; expected one of fcn, deeplabv3plus, segnet"),
        ({"held_out": {"layout": "camvid", "root": "x", "protocol": "voc"}}, "protocol 'voc' is not known"),
        ({"train": 3}, "train is 3; expected a table"),
        ({"train": {"precision": "fp16"}}, "train.precision is 'fp16'; expected one of auto, fp32, bf16"),
        ({"train": {"clip_norm": -1}}, "train.clip_norm is -1; expected a number of at least 0"),
        ({"train": {"augment": {"jpeg": 100}}}, r"train\.augment\.jpeg is 100; expected an integer in \[0, 99\]"),
        ({"train": {"augment": {"jpeg": -1}}}, r"train\.augment\.jpeg is -1"),
        ({"train": {"augment": {"weather": 1.5}}}, r"train\.augment\.weather is 1\.5; expected a number in \[0, 1\]"),
        ({"train": {"batch": 1}}, "train.batch is 1; expected at least 2 for deeplabv3plus"),
        (
            {"train": {"batch": 2}, "rounds": {"real_share": [0, 0.5]}, "rival": {"method": "mrnet"}},
            r"1 bare real image \(rival.method\) a batch would go through the net by itself in round 1; expected",
        ),
    ],
)
def test_wrong_values_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config.from_mapping(values(**changes))


def test_a_removed_key_loads_at_its_old_default_and_is_refused_otherwise() -> None:
    for key, default in old_keys.REMOVED.items():
        old = config.with_settings(values(), (f"{key}={json.dumps(default)}",))
        assert config.from_mapping(old) == config.from_mapping(values()), key
    for setting in ("rounds.unadapted=0.5", "rounds.soft=0.1", "teacher.prior=1", "train.decay=cosine"):
        key, _, value = setting.partition("=")
        with pytest.raises(InputError, match=rf"{key} is '?{value}'?, but that key was removed; delete it"):
            config.from_mapping(config.with_settings(values(), (setting,)))


def test_a_renamed_key_loads_with_one_line_that_names_the_new_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(old_keys, "RENAMED", {"train.old_ema": "train.ema", "train.nested.seed": "seed"})
    old = values(train={"old_ema": 0.5, "steps": 7, "nested": {"seed": 3}})
    del old["seed"]
    built = config.from_mapping(old)
    assert (built.train.ema, built.train.steps, built.seed) == (0.5, 7, 3)
    said = [line for line in capsys.readouterr().err.splitlines() if "old names" in line]
    assert len(said) == 1 and "train.old_ema is now train.ema, train.nested.seed is now seed" in said[0]
    with pytest.raises(InputError, match=r"train\.ema is there, and train\.old_ema, its old name, as well; delete"):
        config.from_mapping(values(train={"old_ema": 0.5, "ema": 0.7}))
    config.with_settings(values(), ("train.old_ema=0.5",))
    assert "train.old_ema is now train.ema" in capsys.readouterr().err


def test_every_old_name_has_a_new_one_that_exists() -> None:
    known = set(config.flat(config.from_mapping(values())))
    assert set(old_keys.RENAMED.values()) <= known
    assert not known & (set(old_keys.RENAMED) | set(old_keys.REMOVED))
    old = config.with_settings(values(rounds={"robust": "symmetric"}), ("rounds.portion=[0.3]",))
    built = config.from_mapping(old).rounds
    assert (built.symmetric_cross_entropy, built.kept_fraction) == (True, (0.3,))
    assert config.from_mapping(config.with_settings(values(), ("rounds.robust=symmetric",))).rounds.symmetric_cross_entropy


@pytest.mark.parametrize(
    "setting",
    [
        *("train.steps=-5", "train.ema=2.0", "train.checkpoint_every=0", "train.augment.zoom=0.2", "train.learning_rate=-1"),
        *("world.engine=-1", "seed=-1", "adapter.crop=33", "train.clip_norm=nan", "train.learning_rate=inf", "train.batch=0"),
        *("rounds.mask_ratio=1.0", "rounds.mask_block_size=0", "rounds.rcs_temperature=-0.1", "rival.discriminator_channels=0"),
        *("train.steps=1e3", "train.steps=1" + 30 * "0", "rounds.steps=[1, -1]", "rounds.learning_rate=[]", "teacher.scales=[9]"),
    ],
)
def test_a_number_out_of_its_range_is_one_line(setting: str) -> None:
    key = setting.partition("=")[0]
    with pytest.raises(InputError, match=rf"^run\.toml: {key}(\.\d)? is .*; expected (an integer|a number|a list)") as refused:
        config.from_mapping(config.with_settings(values(), (setting,)))
    assert "\n" not in str(refused.value)


def bounds(hint: object) -> Iterator[object]:
    yield hint
    for part in typing.get_args(hint):
        yield from bounds(part)


def numbers(kind: type, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Each key that holds a number, and whether its type has a lower limit."""
    for key, hint in typing.get_type_hints(kind, include_extras=True).items():
        parts = list(bounds(hint))
        for table in (part for part in parts if is_dataclass(part)):
            yield from numbers(table, f"{prefix}{key}.")  # type: ignore[arg-type]
        if (int in parts or float in parts) and not any(is_dataclass(part) for part in parts):
            metas = [part for part in parts if isinstance(part, Meta)]
            yield prefix + key, any(meta.ge is not None or meta.gt is not None for meta in metas)


def test_every_number_has_a_range() -> None:
    found = dict(numbers(config.RunConfig))
    assert len(found) > 50
    assert [key for key, bounded in found.items() if not bounded] == ["size"]  # which RunConfig checks


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    for content, what in ((b"seed = ", "valid TOML"), (b"seed = '\xfc'", r"text \(byte 8 \(0xfc\) is not UTF-8\)")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"run.toml: not {what}"):
            config.load(path)
    with pytest.raises(InputError, match="cannot be read .* expected a TOML file"):
        config.load(tmp_path)
    for text in ("seed = " + 5000 * "9", "a = " + 5000 * "[" + 5000 * "]"):
        path.write_text(text)
        with pytest.raises(InputError, match="run.toml: not valid TOML"):
            config.load(path)


def test_the_mark_of_windows_editors_is_read_over_and_messages_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(config.to_toml(config.from_mapping(values())), encoding="utf-8-sig")
    assert config.load(path).recipe == "test"
    path.write_text("seed = 3")
    with pytest.raises(InputError, match=f"^{path}: recipe, size, synthetic.layout, .*, real.root are missing"):
        config.load(path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("=1", "--set '=1': expected KEY=VALUE"),
        ("train..steps=1", "expected KEY=VALUE"),
        ("train.steps=1\nx=2", "train.steps is '1.nx=2'; expected no control characters"),
        ('real.root="a\\u0000b"', "real.root is .* expected no control characters"),
        ("real.root=", "real.root is ''; expected a string that is not empty"),
        ("real.ids.x=road", "run.toml: real.*: ids: 'x' is no"),
        ("seed=" + 5000 * "9", "seed is .*; expected an integer"),
    ],
)
def test_settings_that_mean_nothing_are_one_line(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        config.from_mapping(config.with_settings(values(), (setting,)))
    assert len(str(refused.value).splitlines()) == 1


def test_an_optional_table_is_left_out() -> None:
    scored = values(held_out={"layout": "camvid"})
    with pytest.raises(InputError, match=r"held_out\.root is missing; .* or leave out the table held_out with --set held_out=$"):
        config.from_mapping(scored)
    assert config.from_mapping(config.with_settings(scored, ("held_out=",))).held_out is None


def test_index_0_of_an_only_source_is_that_source() -> None:
    built = config.from_mapping(config.with_settings(values(), ("synthetic.0.root=x",)))
    assert built.synthetic[0].root == "x"


def test_a_missing_value_says_how_to_set_it() -> None:
    incomplete = values()
    del incomplete["real"]["root"]  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"real\.root is missing; set it with --set real\.root=VALUE"):
        config.from_mapping(incomplete)


def test_all_missing_values_are_said_at_once() -> None:
    incomplete = values(synthetic=[{"layout": "gta5", "share": 0.7}, {"layout": "plain", "root": "b", "share": 0.3}])
    del incomplete["real"]["root"]  # type: ignore[attr-defined]
    expected = r"synthetic\.0\.root, real\.root are missing; set them with --set synthetic\.0\.root=VALUE --set real\.root=VALUE$"
    with pytest.raises(InputError, match=expected):
        config.from_mapping(incomplete)


def test_settings_reach_their_field_and_integers_become_floats() -> None:
    changed = config.with_settings(values(), ("train.learning_rate=1", "real.root=/data/x y", "rounds.kept_fraction=[0.3, 0.4]"))
    built = config.from_mapping(changed)
    assert (built.train.learning_rate, built.real[0].root, built.rounds.kept_fraction) == (1.0, "/data/x y", (0.3, 0.4))


def test_one_source_or_several_and_settings_by_their_number(tmp_path: Path) -> None:
    two = values(synthetic=[{"layout": "gta5", "root": "a", "share": 0.7}, {"layout": "plain", "root": "b", "share": 0.3}])
    built = config.from_mapping(config.with_settings(two, ("synthetic.1.root=c", "synthetic.1.ids.3=car")))
    assert [source.root for source in built.synthetic] == ["a", "c"]
    assert built.synthetic[1].ids == {"3": "car"}
    (tmp_path / "run.toml").write_text(config.to_toml(built))
    assert config.load(tmp_path / "run.toml") == built
    assert config.flat(built)["synthetic.1.layout"] == "plain"
    assert config.flat(config.from_mapping(values()))["synthetic.layout"] == "gta5"


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([{"layout": "gta5", "root": "a"}, {"layout": "gta5", "root": "b"}], "two synthetic sources are called gta5"),
        ([{"layout": "gta5", "root": "a", "share": 1}, {"layout": "plain", "root": "b"}], "expected all, or none"),
        ([{"layout": "gta5", "root": "a", "share": -1}], "synthetic.share is -1; expected a number of at least 0"),
        ([{"layout": "gta5", "root": "a", "name": "x/y"}], "expected no / and no __"),
        ([{"layout": "gta5", "root": "a", "ids": {"300": "car"}}], "'300' is not an id"),
        ([{"layout": "gta5", "root": "a", "ids": {"3": "lorry"}}], "3 = 'lorry' is not a class"),
        ([{"layout": "gta5"}, {"layout": "plain", "root": "b"}], r"synthetic\.0\.root is missing"),
        ([], "synthetic is \\[\\]; expected a list of at least 1 tables"),
    ],
)
def test_sources_that_cannot_be_told_apart_or_mixed_are_refused(sources: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config.from_mapping(values(synthetic=sources))


def test_settings_of_a_list_name_which_one() -> None:
    two = values(synthetic=[{"layout": "gta5"}, {"layout": "plain"}])
    with pytest.raises(InputError, match="name one of them"):
        config.with_settings(two, ("synthetic.root=x",))
    with pytest.raises(InputError, match="expected 0 to 1"):
        config.with_settings(two, ("synthetic.2.root=x",))


def test_a_round_beyond_the_schedule_takes_its_last_value() -> None:
    rounds = config.Rounds(real_share=(0.0, 0.25, 0.5), kept_fraction=(0.2, 0.4))
    assert [rounds.real_share_of(k) for k in (0, 1, 2, 9)] == [0.0, 0.25, 0.5, 0.5]
    assert [rounds.kept_fraction_of(k) for k in (1, 2, 9)] == [0.2, 0.4, 0.4]


def test_only_the_nets_that_label_look_twice_where_views_are_for_labelling() -> None:
    teacher = config.Teacher(flip=True, scales=(1.0, 1.5), views="labelling")
    run = config.RunConfig(
        "test",
        0,
        (64, 48),
        (config.Source("gta5", "s"),),
        (config.Source("camvid", "r"),),
        adapter=config.Adapter(crop=32),
        rounds=config.Rounds(real_share=(0.0, 0.25, 0.5)),
        teacher=teacher,
    )
    stages = [Stage(name) for name in ("source-only", "oracle", "round-0", "round-1", "round-2", "round-3")]
    seen = {stage: (run.teacher_of(stage).flip, run.teacher_of(stage).scales) for stage in stages}
    twice = {stage for stage, views in seen.items() if views == (True, (1.0, 1.5))}
    assert {stage.name for stage in twice} == {"round-0", "round-1"}
    assert {seen[stage] for stage in stages if stage not in twice} == {(False, (1.0,))}
    every = replace(run, teacher=replace(teacher, views="every"))
    assert all(every.teacher_of(stage) == every.teacher for stage in stages)


def test_the_difference_names_each_leaf() -> None:
    before = config.from_mapping(values())
    after = config.from_mapping(values(seed=3, train={"steps": 7}))
    assert config.difference(before, after) == ["seed: 0 -> 3", "train.steps: 40000 -> 7"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"real": {"layout": "cityscapes", "root": "b", "border": [0, 0, -1, 0]}},
            "real.border.2 is -1; expected an integer of at least 0",
        ),
        (
            {"real": {"layout": "cityscapes", "root": "b", "border": [30, 0, 34, 0]}},
            r"real.border is \[30, 0, 34, 0\], .* less than size \[64, 64\]",
        ),
        (
            {"synthetic": {"layout": "gta5", "root": "a", "border": [1, 0, 0, 0]}},
            "synthetic gta5 has a border; only real",
        ),
    ],
)
def test_a_border_that_does_not_fit_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config.from_mapping(values(**changes))
