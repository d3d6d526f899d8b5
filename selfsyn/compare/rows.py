"""The rows of the table: each is settings over the run's own configuration, and the stage whose teacher is scored.

Every row learns for the same number of updates in batches of the same size, from the same start: the pretrained backbone.
A student is a matter of our own rounds: every other row scores the net of [task].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from selfsyn.compare.budget import budget
from selfsyn.compare.levers import LEVERS
from selfsyn.config import Align, Rounds, RunConfig
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage, round_stage

OURS = "ours"
WITHOUT = "without-"
MEMORY = 0.1  # of Zheng & Yang 2020
MULTI_LEVEL = Align(main=0.001, auxiliary=0.0002)  # of Tsai et al. 2018


@dataclass(frozen=True)
class Row:
    """A row of the table.

    words: what it learns from.  settings: (the run's configuration, its last round) -> the row's.
    stage: the run's last round -> the stage that is scored.
    """

    name: str
    title: str
    words: str
    settings: Callable[[RunConfig, int], RunConfig]
    stage: Callable[[int], Stage]

    @property
    def ablates(self) -> bool:
        """Whether the row is our own loop with one lever off."""
        return self.name.startswith(WITHOUT)


def _source_only(config: RunConfig, rounds: int) -> RunConfig:
    # A source-only training that rounds continue would not come to its end.
    start = "warm" if config.rounds.start_of(0) == "continue" else config.rounds.start
    train = replace(config.train, steps=budget(config, rounds=rounds))
    return replace(config, student=None, train=train, rounds=replace(config.rounds, start=start))


def _adabn(config: RunConfig, rounds: int) -> RunConfig:
    # Round 0 has no update of its own, so that nothing else of the rounds acts: it is the source-only net with other statistics.
    only = Rounds(steps=0, adapted=False, real_share=(0.0,), portion=config.rounds.portion, statistics=1.0)
    return _with_critics(replace(_source_only(config, rounds), rounds=only), of=config)


def _rival(config: RunConfig, rounds: int, plan: Rounds) -> RunConfig:
    """One training from the pretrained backbone with the whole budget, at the rate at which source-only begins."""
    steps, rate = budget(config, rounds=rounds), config.train.learning_rate
    one = replace(plan, steps=steps, learning_rate=rate, start=("fresh",), real_share=(0.0,), portion=config.rounds.portion)
    return _with_critics(replace(config, student=None, rounds=one), of=config)


def _with_critics(config: RunConfig, *, of: RunConfig) -> RunConfig:
    """With discriminators as large as the run says."""
    align = replace(config.rounds.align, channels=of.rounds.align.channels)
    return replace(config, rounds=replace(config.rounds, align=align))


def _cycada(config: RunConfig, rounds: int) -> RunConfig:
    return _rival(config, rounds, Rounds(align=Align(features=0.1, gate=0.6)))


def _adaptsegnet(config: RunConfig, rounds: int) -> RunConfig:
    return _rival(config, rounds, Rounds(adapted=False, align=MULTI_LEVEL))


def _mrnet(config: RunConfig, rounds: int) -> RunConfig:
    return _rival(config, rounds, Rounds(adapted=False, align=MULTI_LEVEL, memory=MEMORY))


def _seg_uncertainty(config: RunConfig, rounds: int) -> RunConfig:
    # Half of the budget for each stage, as in the paper; every pseudo-label counts, and none of the synthetic images.
    whole = budget(config, rounds=rounds)
    first = Rounds(adapted=False, align=MULTI_LEVEL, memory=MEMORY, rectify=True, real_share=(0.0, 1.0), portion=(1.0,))
    steps, rates = (whole - whole // 2, whole // 2), (config.train.learning_rate, config.rounds.learning_rate_of(1))
    plan = replace(first, steps=steps, learning_rate=rates, start=("fresh", "warm"))
    return _with_critics(replace(config, student=None, rounds=plan), of=config)


def _ours(config: RunConfig, rounds: int) -> RunConfig:
    return config


def _oracle(config: RunConfig, rounds: int) -> RunConfig:
    return replace(config, student=None, train=replace(config.train, oracle_steps=budget(config, rounds=rounds)))


def _only_round(rounds: int) -> Stage:
    return round_stage(0)


ROWS = (
    Row("source-only", "source-only", "synthetic images as they are", _source_only, lambda last: SOURCE_ONLY),
    Row(
        "adabn",
        "source-only + AdaBN",
        "the source-only net with the batch-norm statistics of the unlabelled real images (Li et al. 2016)",
        _adabn,
        _only_round,
    ),
    Row(
        "cycada",
        "CyCADA",
        "adapted images, and the scores on real images aligned with theirs, gated by accuracy (Hoffman et al. 2018)",
        _cycada,
        _only_round,
    ),
    Row(
        "adaptsegnet",
        "AdaptSegNet",
        "synthetic images as they are, and the answers of both heads on real images aligned with theirs (Tsai et al. 2018)",
        _adaptsegnet,
        _only_round,
    ),
    Row(
        "mrnet",
        "Seg-Uncertainty, stage 1",
        "as AdaptSegNet, and the two heads agree on real images (MRNet: Zheng & Yang 2020)",
        _mrnet,
        _only_round,
    ),
    Row(
        "seg-uncertainty",
        "Seg-Uncertainty, both stages",
        "half of the budget as stage 1, half on its pseudo-labels alone, with the rectified loss (Zheng & Yang 2021)",
        _seg_uncertainty,
        lambda last: round_stage(1),
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
