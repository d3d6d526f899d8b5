"""The rows of the table: each is settings over the run's own configuration, and the stage whose teacher is scored.

Every row learns for the same number of updates in batches of the same size, from the same start: the pretrained backbone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from selfsyn.compare.budget import budget
from selfsyn.compare.levers import LEVERS
from selfsyn.config import Rounds, RunConfig
from selfsyn.layout import ORACLE, SOURCE_ONLY, round_stage

OURS = "ours"
WITHOUT = "without-"


@dataclass(frozen=True)
class Row:
    """A row of the table.

    settings: (the run's configuration, its last round) -> the row's.  stage: its last round -> the stage that is scored.
    last_round: how many rounds its flow has, of the run's.
    """

    name: str
    title: str
    words: str
    settings: Callable[[RunConfig, int], RunConfig]
    stage: Callable[[int], str]

    @property
    def ablates(self) -> bool:
        """Whether the row is our own loop with one lever off."""
        return self.name.startswith(WITHOUT)


def _source_only(config: RunConfig, rounds: int) -> RunConfig:
    return replace(config, train=replace(config.train, steps=budget(config, rounds=rounds)))


def _adabn(config: RunConfig, rounds: int) -> RunConfig:
    # Round 0 has no update of its own: it is the source-only net with other statistics.
    return replace(_source_only(config, rounds), rounds=Rounds(steps=0, adapted=False, statistics=1.0))


def _ours(config: RunConfig, rounds: int) -> RunConfig:
    return config


def _oracle(config: RunConfig, rounds: int) -> RunConfig:
    return replace(config, train=replace(config.train, oracle_steps=budget(config, rounds=rounds)))


ROWS = (
    Row("source-only", "source-only", "synthetic images as they are", _source_only, lambda last: SOURCE_ONLY),
    Row(
        "adabn",
        "source-only, batch norm re-estimated",
        "the source-only net; the statistics of its batch norms are those of the unlabelled real images (Li et al. 2016)",
        _adabn,
        lambda last: round_stage(0),
    ),
    Row(OURS, "ours", "the run's own rounds", _ours, round_stage),
    Row("oracle", "oracle", "the real images with their labels: a bound, no method", _oracle, lambda last: ORACLE),
)


def ablations(config: RunConfig) -> tuple[Row, ...]:
    """Our loop with one lever off, for each lever that `config` uses."""
    return tuple(
        Row(
            f"{WITHOUT}{lever.name}",
            f"without {lever.title}",
            lever.words,
            lambda config, rounds, off=lever.off: off(config),  # type: ignore[misc]
            round_stage,
        )
        for lever in LEVERS
        if lever.off(config) != config
    )
