"""The flow as data: which phases a run has, what each one reads, and in which order they can go.

`selfsyn round` walks it on one machine; an orchestrator can release the same phases as their needs are met.
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
    """One batch job: a verb with its options, the folder that it fills, and the folders that must be finished before.

    stage: whose folder it fills a part of; None for a phase of the whole run.
    shard: (which, of how many) of those that fill the folder `whole` together; None for all of it.
    """

    verb: str
    whole: str
    options: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    stage: Stage | None = None
    shard: tuple[int, int] | None = None

    @property
    def folder(self) -> str:
        """The folder that it fills."""
        return f"{self.whole}/{shard_name(*self.shard)}" if self.shard else self.whole

    @property
    def arguments(self) -> tuple[str, ...]:
        """Its options with those that name the shard."""
        return (*self.options, "--shard", str(self.shard[0]), "--shards", str(self.shard[1])) if self.shard else self.options

    @property
    def name(self) -> str:
        """What a person reads in a log: 'train --round 1'."""
        return " ".join((self.verb, *self.arguments))

    @property
    def facts(self) -> Verb:
        """What is known of its verb."""
        return VERBS[self.verb]


def world_phase(config: RunConfig) -> tuple[Phase, ...]:
    """The rendering of the run's own frames; none when the user brings all data."""
    world = config.world
    return (Phase("world", "world"),) if any(vars(world).values()) else ()


def stage_before(config: RunConfig, *, stage: Stage) -> Stage | None:
    """The stage whose net this one goes on from: source-only for round 0, round K-1 for round K; none for a fresh start."""
    if stage.round is None or config.rounds.start_of(stage.round) == "fresh":
        return None
    return round_stage(stage.round - 1) if stage.round else SOURCE_ONLY


def train_phase(config: RunConfig, *, stage: Stage) -> Phase:
    """Training of one stage: the bounds read data sets, round 0 adapted images, later rounds pseudo-labels too.

    A round goes on from the stage before it, unless `rounds.start` says otherwise. Without `rounds.adapted` the rounds
    read the synthetic images as they are.
    """
    before = stage_before(config, stage=stage)
    needs = [f"{before}/task"] if before else []
    needs += ["adapted"] if not stage.is_bound and config.rounds.adapted else []
    needs += [f"{stage}/labels"] if stage.round else []
    return _phase(config, "train", *needs, stage=stage)


def export_phase(config: RunConfig, *, stage: Stage) -> Phase:
    """Export of a stage's net; parity is checked on real images, so it reads those as well."""
    return _phase(config, "export-teacher", f"{stage}/task", stage=stage)


def evaluate_phase(config: RunConfig, *, stage: Stage) -> Phase:
    """Scoring of a stage's exported teacher on the held-out labels."""
    return _phase(config, "evaluate", f"{stage}/teacher", stage=stage)


def fit_adapter_phase(config: RunConfig) -> Phase:
    """The fit of the adapter; the source-only net is the frozen one of its semantic loss."""
    return _phase(config, "fit-adapter", f"{SOURCE_ONLY}/task")


def adapt_phase(config: RunConfig, *, shard: int = 0, shards: int = 1) -> Phase:
    """Translation of every synthetic image, or of one of several shards of them."""
    return replace(_phase(config, "adapt", "adapter"), shard=(shard, shards) if shards > 1 else None)


def pseudo_label_phase(config: RunConfig, *, round_: int, shard: int = 0, shards: int = 1) -> Phase:
    """Labelling of one shard of the real images by the previous round's teacher."""
    whole = _phase(config, "pseudo-label", f"{round_stage(round_ - 1)}/teacher", stage=round_stage(round_))
    return replace(whole, shard=(shard, shards))


def probe_phase(config: RunConfig, *, ablate: bool = False) -> Phase:
    """Scoring of the oracle on synthetic images before and after adaptation: a side road, in no run's flow.

    ablate: also after adaptation by adapters that lack one loss each; they are fitted for it.
    """
    phase = _phase(config, "probe-gap", "adapted", f"{ORACLE}/teacher", *[f"{SOURCE_ONLY}/task"] * ablate)
    return replace(phase, whole="ablation", options=("--ablate",)) if ablate else phase


def report_phase(evaluated: Iterable[Stage]) -> Phase:
    """The page about every stage that was evaluated."""
    return Phase("report", "report", (), tuple(f"{stage}/evaluation" for stage in evaluated))


def _phase(config: RunConfig, verb: str, *needs: str, stage: Stage | None = None) -> Phase:
    """A phase that needs the run's own frames too, where it has some."""
    world, folder = (phase.folder for phase in world_phase(config)), VERBS[verb].writes
    if stage is None:
        return Phase(verb, folder, (), (*world, *needs))
    return Phase(verb, f"{stage}/{folder}", stage.arguments, (*world, *needs), stage)


def phases(config: RunConfig, *, rounds: int, with_bounds: bool = False) -> tuple[Phase, ...]:
    """Every phase of a run up to round `rounds`, each after what it needs.

    The source-only training always comes first: the adapter needs it. The oracle is trained on real labels and is
    computed only `with_bounds`. Evaluation exists only where the configuration names held-out labels.
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
