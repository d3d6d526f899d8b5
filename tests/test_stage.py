"""Stages by hand: their names, what they say, and what is no stage."""

from __future__ import annotations

import pytest

from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage, parse, round_stage


@pytest.mark.parametrize(
    ("name", "round_", "title", "arguments"),
    [
        ("source-only", None, "source-only", ("--bound", "source-only")),
        ("oracle", None, "oracle", ("--bound", "oracle")),
        ("round-0", 0, "round 0", ("--round", "0")),
        ("round-12", 12, "round 12", ("--round", "12")),
    ],
)
def test_a_stage_by_hand(name: str, round_: int | None, title: str, arguments: tuple[str, ...]) -> None:
    stage = Stage(name)
    assert (stage.round, stage.is_bound, stage.title, stage.arguments) == (round_, round_ is None, title, arguments)
    assert f"{stage}/task" == f"{name}/task" and parse(name) == stage


def test_equal_names_are_equal_stages() -> None:
    assert round_stage(1) == Stage("round-1") and len({SOURCE_ONLY, ORACLE, Stage("oracle")}) == 2


@pytest.mark.parametrize("name", ["round-", "round-x", "round-01", "round--1", "adapter", "oracle/task", ""])
def test_what_is_no_stage(name: str) -> None:
    assert parse(name) is None
    with pytest.raises(ValueError, match="is no stage; expected"):
        Stage(name)
