"""AdaBN (Li et al. 2016): the source-only net with the batch-norm statistics of the real images."""

from __future__ import annotations

from selfsyn.compare.row import Row, first_round, source_only, with_rounds
from selfsyn.config import Rounds, RunConfig


def _settings(config: RunConfig, rounds: int) -> RunConfig:
    # Round 0 makes no updates, so it is the source-only net with other batch-norm statistics.
    only = Rounds(steps=0, adapted=False, real_share=(0.0,), kept_fraction=config.rounds.kept_fraction, adabn_share=1.0)
    return with_rounds(source_only(config, rounds), only)


ROW = Row(
    "adabn",
    "source-only + AdaBN",
    "the source-only net with the batch-norm statistics of the unlabelled real images (Li et al. 2016)",
    _settings,
    first_round,
    fits=lambda config: config.task.architecture != "vit",  # no batch norm
)
