"""What the rounds' schedule says by round, and what a flow leaves out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import make

from selfsyn.config import Rival, Rounds, RunConfig, from_mapping, load, to_toml
from selfsyn.errors import InputError
from selfsyn.flow import phases, train_phase
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage
from selfsyn.task.schedule import schedule_of


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return load(make(tmp_path / "run") / "run.toml")


def test_one_number_or_a_list_by_round(config: RunConfig) -> None:
    one, listed = Rounds(steps=5, learning_rate=0.1), Rounds(steps=(5, 9), learning_rate=(0.1, 0.2, 0.3))
    assert [one.steps_of(round_) for round_ in range(3)] == [5, 5, 5]
    assert [listed.steps_of(round_) for round_ in range(3)] == [5, 9, 9]
    assert [listed.learning_rate_of(round_) for round_ in range(4)] == [0.1, 0.2, 0.3, 0.3]
    schedule = schedule_of(replace(config, rounds=listed), stage=Stage("round-1"))
    assert (schedule.steps, schedule.learning_rate) == (9, 0.2)


def test_a_list_starts_round_0_too_and_a_word_does_not() -> None:
    assert [Rounds(start="fresh").start_of(round_) for round_ in range(3)] == ["warm", "fresh", "fresh"]
    assert [Rounds(start=("fresh", "warm")).start_of(round_) for round_ in range(3)] == ["fresh", "warm", "warm"]


@pytest.mark.parametrize("rounds", [Rounds(steps=(5, 9), learning_rate=(0.1, 0.2), start=("fresh", "warm")), Rounds(steps=7)])
def test_lists_and_numbers_survive_run_toml(config: RunConfig, tmp_path: Path, rounds: Rounds) -> None:
    (tmp_path / "run.toml").write_text(to_toml(replace(config, rounds=rounds)))
    assert load(tmp_path / "run.toml").rounds == rounds


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"start": "hot"}, "rounds.start is 'hot'; expected one of warm, fresh, continue"),
        ({"start": ["warm", "hot"]}, "rounds.start.1 is 'hot'; expected one of warm, fresh, continue"),
        ({"steps": []}, "expected a list of at least 1 integers"),
        ({"steps": "many"}, "rounds.steps is 'many'; expected an integer"),
        ({"statistics": 1.5}, "rounds.adabn_share is 1.5; expected a number in"),
        ({"real_share": [0.0, 1.5]}, "rounds.real_share.1 is 1.5; expected a number in"),
    ],
)
def test_nonsense_is_refused(value: dict[str, object], message: str) -> None:
    sources = {"synthetic": {"layout": "gta5", "root": "a"}, "real": {"layout": "cityscapes", "root": "b"}}
    with pytest.raises(InputError, match=message):
        from_mapping({"recipe": "r", "seed": 0, "size": [512, 512], **sources, "rounds": value})


def test_rounds_on_synthetic_images_as_they_are_need_no_adapter(config: RunConfig) -> None:
    plain = replace(config, rounds=replace(config.rounds, adapted=False))
    assert {"fit-adapter", "adapt"} & {phase.verb for phase in phases(plain, rounds=1)} == set()
    assert train_phase(plain, stage=Stage("round-0")).needs == ("world", "source-only/task")
    assert train_phase(config, stage=Stage("round-0")).needs == ("world", "source-only/task", "adapted")


def test_a_fresh_start_needs_no_net_before(config: RunConfig) -> None:
    fresh = replace(config, rounds=replace(config.rounds, start=("fresh",)))
    assert train_phase(fresh, stage=Stage("round-0")).needs == ("world", "adapted")
    assert train_phase(fresh, stage=Stage("round-1")).needs == ("world", "adapted", "round-1/labels")


def test_bounds_care_for_none_of_it(config: RunConfig) -> None:
    rounds = Rounds(adapted=False, start=("fresh",), adabn_share=1.0)
    changed = replace(config, rounds=rounds, train=replace(config.train, batch=4), rival=Rival("mrnet"))
    for stage in (SOURCE_ONLY, ORACLE):
        assert train_phase(changed, stage=stage).needs == train_phase(config, stage=stage).needs == ("world",)
