"""The flow as data: the phases of a run, the folders that each needs, and their order.

`selfsyn round` runs them on a single machine; an orchestrator can start a phase as soon as the folders that it needs are
finished.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from selfsyn.config import RunConfig
from selfsyn.layout import shard_name
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage, round_stage
from selfsyn.verbs import VERBS, Verb


@dataclass(frozen=True)
class Phase:
    """A batch job: a verb with its options, the folder that it fills, and the folders that must be finished before it.

    stage: the stage that it belongs to; None for a phase of the whole run.
    shard: (index, count) if several shards fill the folder `whole` together; None if the phase fills all of it.
    """

    verb: str
    whole: str
    options: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    stage: Stage | None = None
    shard: tuple[int, int] | None = None

    @property
    def folder(self) -> str:
        """The folder that it fills, relative to the run folder."""
        return f"{self.whole}/{shard_name(*self.shard)}" if self.shard else self.whole

    @property
    def arguments(self) -> tuple[str, ...]:
        """Its options, with --shard and --shards if it is a shard."""
        return (*self.options, "--shard", str(self.shard[0]), "--shards", str(self.shard[1])) if self.shard else self.options

    @property
    def name(self) -> str:
        """The name in logs and manifests: 'train --round 1'."""
        return " ".join((self.verb, *self.arguments))

    @property
    def facts(self) -> Verb:
        """The facts about its verb."""
        return VERBS[self.verb]


def world_phase(config: RunConfig) -> tuple[Phase, ...]:
    """The rendering of the built-in world; no phase if no data set of the run is rendered."""
    return (Phase("world", "world"),) if any(vars(config.rendered).values()) else ()


def stage_before(config: RunConfig, *, stage: Stage) -> Stage | None:
    """The stage whose net `stage` starts from: source-only for round 0, round K-1 for round K; None for a fresh start."""
    if stage.round is None or config.rounds.start_of(stage.round) == "fresh":
        return None
    return round_stage(stage.round - 1) if stage.round else SOURCE_ONLY


def train_phase(config: RunConfig, *, stage: Stage) -> Phase:
    """Training of a stage. Bounds read only data sets; rounds need adapted images, and from round 1 on pseudo-labels.

    A round starts from the net of the stage before, unless `rounds.start` is 'fresh'. With rounds.adapted = false the rounds
    read unadapted synthetic images.
    """
    before = stage_before(config, stage=stage)
    needs = [f"{before}/task"] if before else []
    needs += ["adapted"] if not stage.is_bound and config.rounds.adapted else []
    needs += [f"{stage}/labels"] if stage.round else []
    return _phase(config, "train", *needs, stage=stage)


def export_phase(config: RunConfig, *, stage: Stage) -> Phase:
    """Export of a stage's net. It also reads real images, for the parity check."""
    return _phase(config, "export-teacher", f"{stage}/task", stage=stage)


def evaluate_phase(config: RunConfig, *, stage: Stage) -> Phase:
    """Scoring of a stage's exported teacher on the held-out labels."""
    return _phase(config, "evaluate", f"{stage}/teacher", stage=stage)


def fit_adapter_phase(config: RunConfig) -> Phase:
    """The fit of the adapter, with the source-only net as the frozen net of the semantic loss."""
    return _phase(config, "fit-adapter", f"{SOURCE_ONLY}/task")


def adapt_phase(config: RunConfig, *, shard: int = 0, shards: int = 1) -> Phase:
    """Translation of all synthetic images, or of a shard of them."""
    return replace(_phase(config, "adapt", "adapter"), shard=(shard, shards) if shards > 1 else None)


def pseudo_label_phase(config: RunConfig, *, round_: int, shard: int = 0, shards: int = 1) -> Phase:
    """Pseudo-labelling of a shard of the real images by the teacher of the previous round."""
    whole = _phase(config, "pseudo-label", f"{round_stage(round_ - 1)}/teacher", stage=round_stage(round_))
    return replace(whole, shard=(shard, shards))


def probe_phase(config: RunConfig, *, ablate: bool = False) -> Phase:
    """Scoring of the oracle on synthetic images before and after adaptation. Not part of `phases`.

    ablate: also fit adapters that lack a loss each, and score the oracle on their images.
    """
    phase = _phase(config, "probe-gap", "adapted", f"{ORACLE}/teacher", *[f"{SOURCE_ONLY}/task"] * ablate)
    return replace(phase, whole="ablation", options=("--ablate",)) if ablate else phase


def report_phase(evaluated: Iterable[Stage]) -> Phase:
    """The report on all evaluated stages."""
    return Phase("report", "report", (), tuple(f"{stage}/evaluation" for stage in evaluated))


def _phase(config: RunConfig, verb: str, *needs: str, stage: Stage | None = None) -> Phase:
    """A phase that also needs the rendered frames, if the run has any."""
    world, folder = (phase.folder for phase in world_phase(config)), VERBS[verb].writes
    if stage is None:
        return Phase(verb, folder, (), (*world, *needs))
    return Phase(verb, f"{stage}/{folder}", stage.arguments, (*world, *needs), stage)


def phases(config: RunConfig, *, rounds: int, with_bounds: bool = False) -> tuple[Phase, ...]:
    """All phases of a run up to round `rounds`, each after the phases that it needs.

    The oracle, trained on real labels, is part of it only `with_bounds`. Evaluations are part of it only if the configuration
    has held-out labels.
    """
    flow = [*world_phase(config), *_stage(config, SOURCE_ONLY)]
    flow += [fit_adapter_phase(config), adapt_phase(config)] if config.rounds.adapted else []
    flow += _stage(config, round_stage(0))
    for round_ in range(1, rounds + 1):
        flow += [pseudo_label_phase(config, round_=round_), *_stage(config, round_stage(round_))]
    if with_bounds:
        flow += _stage(config, ORACLE)
    return (*flow, report_phase(phase.stage for phase in flow if phase.verb == "evaluate" and phase.stage))


def _stage(config: RunConfig, stage: Stage) -> list[Phase]:
    flow = [train_phase(config, stage=stage), export_phase(config, stage=stage)]
    return [*flow, evaluate_phase(config, stage=stage)] if config.held_out else flow
