"""One round as a graph of steps: which Jobs there are, and which of them must be complete before which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from selfsyn.config import RunConfig
from selfsyn.errors import InputError
from selfsyn.flow import Phase, phases
from selfsyn.stage import round_stage


@dataclass(frozen=True)
class Step:
    """A phase as one Job of a round.

    name: unique in the run's rounds.  after: the names of the steps that must be complete before.  first: no other step of
    this round comes before it.
    """

    name: str
    phase: Phase
    after: tuple[str, ...] = ()

    @property
    def first(self) -> bool:
        """Whether the step waits for nothing of its round."""
        return not self.after


def steps(config: RunConfig, *, round_: int) -> tuple[Step, ...]:
    """The steps of round `round_` in an order in which they can go. InputError for a round below 1.

    Round 1 holds all that comes before it as well: the world, the source-only net, the adapter, round 0. A later round
    holds only itself. The page comes last of all: it is about everything that is finished.
    """
    if round_ < 1:
        raise InputError(f"--round {round_}: expected 1 or more; round 1 holds the bootstrap and round 0")
    flow = phases(config, rounds=round_)
    wanted = flow if round_ == 1 else [phase for phase in flow if _belongs(phase, round_)]
    found = [Step(step_name(phase, round_=round_), phase) for phase in wanted]
    needs = {step.name: _needs(step, found) for step in found}
    page = found[-1].name
    needs[page] = tuple(name for name in needs if name != page)
    return tuple(replace(step, after=_nearest(step.name, needs)) for step in found)


def step_name(phase: Phase, *, round_: int) -> str:
    """'train --round 1' -> 'train-1', 'evaluate --bound source-only' -> 'evaluate-source-only', 'world' -> 'world'.

    The page is made anew in every round, so its step has the round's number.
    """
    if phase.verb == "report":
        return f"report-{round_}"
    return f"{phase.verb}-{phase.stage.arguments[1]}" if phase.stage else phase.verb


def ancestors(name: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    """Everything that must be complete before `name`, near and far."""
    near = set(needs[name])
    return near.union(*(ancestors(before, needs) for before in near)) if near else near


def _belongs(phase: Phase, round_: int) -> bool:
    return phase.verb == "report" or phase.stage == round_stage(round_)


def _needs(step: Step, others: Sequence[Step]) -> tuple[str, ...]:
    """The steps that fill what this one reads."""
    return tuple(other.name for other in others if other.phase.whole in step.phase.needs)


def _nearest(name: str, needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The needs that no other need implies. A finished Job may be deleted: the fewer look at it, the better."""
    implied: set[str] = set().union(*(ancestors(before, needs) for before in needs[name]))
    return tuple(before for before in needs[name] if before not in implied)
