"""A row of the table: changes to the run's configuration, and the stage whose teacher is scored.

All rows start from the pretrained backbone and have the same number of updates and the same batch size. Only our rounds
train the net of [student]; all other rows score the net of [task].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from selfsyn.compare.budget import budget
from selfsyn.config import Rounds, RunConfig
from selfsyn.stage import Stage, round_stage
from selfsyn.task.objective import ExtraTerm

WITHOUT = "without-"
TWO_HEADS = 0.5  # auxiliary_at_inference of a vit in a row that compares two heads (Zheng & Yang 2021)


def first_round(rounds: int) -> Stage:
    """round-0, the scored stage of a row with a single round."""
    return round_stage(0)


@dataclass(frozen=True)
class Row:
    """A row of the table.

    words: its training data or method.  settings: (the run's configuration, its last round) -> the row's configuration.
    stage: the run's last round -> the scored stage.
    terms: (the row's configuration, device) -> the loss terms of its rounds that need no labels.
    fits: the run's configuration -> whether the row exists for it.
    """

    name: str
    title: str
    words: str
    settings: Callable[[RunConfig, int], RunConfig]
    stage: Callable[[int], Stage]
    terms: Callable[[RunConfig, torch.device], Sequence[ExtraTerm]] = lambda config, device: ()
    fits: Callable[[RunConfig], bool] = lambda config: True

    @property
    def ablates(self) -> bool:
        """Whether the row is an ablation of our rounds."""
        return self.name.startswith(WITHOUT)


def source_only(config: RunConfig, rounds: int) -> RunConfig:
    """The configuration of a source-only training with the whole budget."""
    # With 'continue' the source-only training would end before its learning rate has decayed.
    start = "warm" if config.rounds.start_of(0) == "continue" else config.rounds.start
    train = replace(config.train, steps=budget(config, rounds=rounds))
    alone = config.without_student
    return replace(alone, train=train, rounds=replace(alone.rounds, start=start))


def with_rounds(config: RunConfig, rounds: Rounds, *, method: str = "") -> RunConfig:
    """The configuration with other rounds, and with the extra loss terms of the rival `method`."""
    two_heads = config.task.auxiliary_at_inference or not (method or rounds.rectify)
    task = config.task if two_heads else replace(config.task, auxiliary_at_inference=TWO_HEADS)
    return replace(config, student=None, task=task, rounds=rounds, rival=replace(config.rival, method=method))


def one_round(config: RunConfig, rounds: int, *, plan: Rounds, method: str) -> RunConfig:
    """The configuration of a single round from the pretrained backbone, with the whole budget and the learning rate of
    source-only."""
    steps, rate = budget(config, rounds=rounds), config.train.learning_rate
    one = replace(
        plan, steps=steps, learning_rate=rate, start=("fresh",), real_share=(0.0,), kept_fraction=config.rounds.kept_fraction
    )
    return with_rounds(config, one, method=method)
