"""What a row may learn, and what it has: updates of task models, and the images that they were made on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from selfsyn.config import RunConfig
from selfsyn.flow import Phase
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage
from selfsyn.task.mixture import BARE, MASKED, ONLINE, PSEUDO, SYNTHETIC
from selfsyn.task.stages import sizes_of

ADAPTER = ("adapter", "adapted")


@dataclass(frozen=True)
class Cost:
    """Of a row with one seed.

    updates: of the nets that lead to the scored one.  synthetic, pseudo, labelled: images in their batches, counted each
    time: synthetic, pseudo-labelled real, real with their own labels.  unlabelled: real images beside those in the batches.
    besides: updates of the adapter's frozen net where that is not one of the nets that lead to the scored one.
    """

    updates: int
    synthetic: int
    pseudo: int
    unlabelled: int
    labelled: int
    besides: int


def budget(config: RunConfig, *, rounds: int) -> int:
    """The updates that lead to the net of round `rounds`: what every row of its table gets.

    A round 0 that begins with the pretrained backbone does not go on from the source-only net.
    """
    before = 0 if config.rounds.start_of(0) == "fresh" else config.train.steps
    return before + sum(config.rounds.steps_of(round_) for round_ in range(rounds + 1))


def steps_of(config: RunConfig, stage: Stage) -> int:
    """The updates of one stage."""
    if stage.round is not None:
        return config.rounds.steps_of(stage.round)
    return config.train.steps if stage == SOURCE_ONLY else config.train.oracle_steps


def cost(config: RunConfig, flow: Sequence[Phase], *, stage: Stage) -> Cost:
    """What the phases `flow` of a row cost, up to the net of `stage`."""
    chain = needed(flow, goal=f"{stage}/task", beyond=ADAPTER)
    own, all_ = ([phase.stage for phase in some if phase.verb == "train" and phase.stage] for some in (chain, flow))
    updates = sum(steps_of(config, one) for one in own)
    images: Counter[str] = Counter()
    for one in own:
        for part, size in sizes_of(config, stage=one).items():
            images["labelled" if one == ORACLE else part] += steps_of(config, one) * size
    return Cost(
        updates,
        synthetic=images[SYNTHETIC],
        pseudo=images[PSEUDO] + images[MASKED],
        unlabelled=images[ONLINE] + images[BARE],
        labelled=images["labelled"],
        besides=sum(steps_of(config, one) for one in all_ if one not in own),
    )


def needed(flow: Sequence[Phase], *, goal: str, beyond: Sequence[str] = ()) -> tuple[Phase, ...]:
    """The phases of `flow` that fill `goal`, and everything that they need; what fills `beyond` is not followed."""
    wanted, kept = {goal}, []
    for phase in reversed(flow):
        if phase.whole in wanted:
            kept.append(phase)
            wanted |= set(phase.needs) - set(beyond)
    return tuple(reversed(kept))
