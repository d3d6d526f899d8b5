"""A row of the table: settings over the run's own configuration, and the stage whose teacher is scored.

Every row learns for the same number of updates in batches of the same size, from the same start: the pretrained backbone.
A student is a matter of our own rounds: every other row scores the net of [task].
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


def first_round(rounds: int) -> Stage:
    """The scored stage of a row that has one round, whatever the last round of the others is."""
    return round_stage(0)


@dataclass(frozen=True)
class Row:
    """A row of the table.

    words: what it learns from.  settings: (the run's configuration, its last round) -> the row's.
    stage: the run's last round -> the stage that is scored.
    terms: (the row's configuration, where its net learns) -> the loss terms of the row's rounds beside those on labels.
    """

    name: str
    title: str
    words: str
    settings: Callable[[RunConfig, int], RunConfig]
    stage: Callable[[int], Stage]
    terms: Callable[[RunConfig, torch.device], Sequence[ExtraTerm]] = lambda config, device: ()

    @property
    def ablates(self) -> bool:
        """Whether the row is our own loop with one lever off."""
        return self.name.startswith(WITHOUT)


def source_only(config: RunConfig, rounds: int) -> RunConfig:
    """A source-only training with the whole budget."""
    # A source-only training that rounds continue would not come to its end.
    start = "warm" if config.rounds.start_of(0) == "continue" else config.rounds.start
    train = replace(config.train, steps=budget(config, rounds=rounds))
    return replace(config, student=None, train=train, rounds=replace(config.rounds, start=start))


def with_rounds(config: RunConfig, rounds: Rounds, *, method: str = "") -> RunConfig:
    """The configuration with other rounds, and the extra loss terms of the rival `method` in them."""
    return replace(config, student=None, rounds=rounds, rival=replace(config.rival, method=method))


def one_round(config: RunConfig, rounds: int, *, plan: Rounds, method: str) -> RunConfig:
    """One training from the pretrained backbone with the whole budget, at the rate at which source-only begins."""
    steps, rate = budget(config, rounds=rounds), config.train.learning_rate
    one = replace(
        plan, steps=steps, learning_rate=rate, start=("fresh",), real_share=(0.0,), kept_fraction=config.rounds.kept_fraction
    )
    return with_rounds(config, one, method=method)
