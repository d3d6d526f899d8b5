"""A round as a graph of steps: its Jobs and their order."""

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

    name: unique in all rounds of the run.  after: the names of the steps that must be complete before this step.
    """

    name: str
    phase: Phase
    after: tuple[str, ...] = ()

    @property
    def first(self) -> bool:
        """Whether the step waits for no other step of its round."""
        return not self.after


def steps(config: RunConfig, *, round_: int) -> tuple[Step, ...]:
    """The steps of round `round_`, in an order in which they can run. InputError for a round below 1.

    Round 1 includes all earlier phases: the world, the source-only net, the adapter, round 0. Later rounds hold only their
    own phases. The report comes last, because it shows all finished phases.
    """
    if round_ < 1:
        raise InputError(f"got --round {round_}; expected 1 or more; round 1 includes round 0 and the phases before it")
    flow = phases(config, rounds=round_)
    wanted = flow if round_ == 1 else [phase for phase in flow if _belongs(phase, round_)]
    found = [Step(step_name(phase, round_=round_), phase) for phase in wanted]
    needs = {step.name: _needs(step, found) for step in found}
    page = found[-1].name
    needs[page] = tuple(name for name in needs if name != page)
    return tuple(replace(step, after=_nearest(step.name, needs)) for step in found)


def step_name(phase: Phase, *, round_: int) -> str:
    """'train --round 1' -> 'train-1', 'evaluate --bound source-only' -> 'evaluate-source-only', 'world' -> 'world'.

    Every round writes the report again, so its step has the round's number.
    """
    if phase.verb == "report":
        return f"report-{round_}"
    return f"{phase.verb}-{phase.stage.arguments[1]}" if phase.stage else phase.verb


def ancestors(name: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    """All direct and indirect predecessors of `name`."""
    near = set(needs[name])
    return near.union(*(ancestors(before, needs) for before in near)) if near else near


def _belongs(phase: Phase, round_: int) -> bool:
    return phase.verb == "report" or phase.stage == round_stage(round_)


def _needs(step: Step, others: Sequence[Step]) -> tuple[str, ...]:
    """The steps that write what `step` reads."""
    return tuple(other.name for other in others if other.phase.whole in step.phase.needs)


def _nearest(name: str, needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The needs that no other need implies. Finished Jobs may be deleted, so few steps should wait for each."""
    implied: set[str] = set().union(*(ancestors(before, needs) for before in needs[name]))
    return tuple(before for before in needs[name] if before not in implied)
