"""The progress of a run on a cluster, as `selfsyn k8s status` shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from jobs.cluster.api import COORDINATOR, FORBIDDEN, Cluster, PhaseJob, Trouble
from jobs.cluster.coordinator import mixture
from jobs.cluster.remarks import state_and_remark
from jobs.cluster.table import Row
from selfsyn.errors import InputError

T = TypeVar("T")
INTERVAL = 5.0  # seconds between two looks


@dataclass(frozen=True)
class Progress:
    """The rows of a run's phases and coordinators, and what else should be known, a line each."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a phase or a coordinator has failed."""
        return any(row.state == "failed" for row in self.rows)

    @property
    def over(self) -> bool:
        """Whether nothing will change any more without a person."""
        return self.failed or all(row.state in ("complete", "missing") for row in self.rows)

    @property
    def shown(self) -> tuple[object, ...]:
        """Everything but the times."""
        return (*((row.round_, row.phase, row.state, row.remark, row.job and row.job.done) for row in self.rows), *self.notes)


def look(cluster: Cluster, *, run: str, round_: int | None = None) -> Progress:
    """Ask the cluster for the progress of a run or of one round. Raises Trouble; InputError when it has no Job there."""
    jobs = cluster.jobs(run=run, round_=round_)
    if not jobs:
        raise InputError(
            f"found no phase of run {run!r} in the namespace {cluster.namespace!r}; apply the output of `selfsyn k8s render`"
            " first, or give --namespace"
        )
    pods = _if_allowed(lambda: cluster.pods(run=run, round_=round_))
    warnings = _if_allowed(cluster.warnings) if any(job.state == "running" for job in jobs) else []
    rows = [Row(job.round_, job.phase, *state_and_remark(job, pods, warnings), job) for job in jobs]
    rounds = sorted({job.round_ for job in jobs})
    rows += [row for number in rounds for row in _without_coordinator(number, [job for job in jobs if job.round_ == number])]
    mixed = [line for number in rounds if (line := mixture([job for job in jobs if job.round_ == number]))]
    return Progress(tuple(rows), tuple(f"round stopped: {line}" for line in mixed) + tuple(_stale(cluster, run, round_)))


def watch(
    see: Callable[[], Progress],
    *,
    show: Callable[[Progress], None],
    trouble: Callable[[Trouble], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Progress:
    """Show the progress every 5 seconds until nothing will change any more -> the last one. Trouble without a remedy ends it."""
    while True:
        try:
            progress = see()
        except Trouble as error:
            if error.exit_code == InputError.exit_code:
                raise
            trouble(error)
        else:
            show(progress)
            if progress.over:
                return progress
        sleep(INTERVAL)


def _without_coordinator(round_: int, jobs: Sequence[PhaseJob]) -> list[Row]:
    """A row for the missing coordinator of a round with waiting phases."""
    if any(job.phase == COORDINATOR for job in jobs) or all(job.state != "waiting" for job in jobs):
        return []
    return [Row(round_, COORDINATOR, "missing", "nothing starts the waiting phases: apply the round's manifest again")]


def _stale(cluster: Cluster, run: str, round_: int | None) -> list[str]:
    """A line for each configuration that no Job of its round mounts any more."""
    maps = _if_allowed(lambda: cluster.objects("configmaps", run=run, round_=round_))
    if not maps:
        return []
    mounted = {
        volume.get("configMap", {}).get("name")
        for job in cluster.objects("jobs", run=run, round_=round_)
        for volume in job["spec"]["template"]["spec"].get("volumes", [])
    }
    names = sorted(str(found["metadata"]["name"]) for found in maps if found["metadata"]["name"] not in mounted)
    return [f"stale: no Job uses configmap {name}; kubectl -n {cluster.namespace} delete configmap {name}" for name in names]


def _if_allowed(ask: Callable[[], list[T]]) -> list[T]:
    """The answer, or nothing where the user may not see it: pods, events and configurations only explain."""
    try:
        return ask()
    except Trouble as error:
        if error.code != FORBIDDEN:
            raise
        return []
