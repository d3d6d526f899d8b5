"""The coordinator: lists the round's Jobs, releases those that may begin, and repeats. It keeps no state."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.cluster.api import Cluster, PhaseJob, Trouble
from selfsyn.errors import FaultError, InputError, NotReadyError
from selfsyn.progress import say

LONGEST_PAUSE = 60.0  # seconds between two requests to an API server that does not answer
APPLYING = 60.0  # seconds in which a `kubectl apply` may still be at work on the other Jobs of a round


@dataclass(frozen=True)
class Outlook:
    """The next actions for a round.

    release: phases whose predecessors are complete.  failed: phases that failed.  missing: phases without a Job, for which
    an unfinished phase waits.  finished: the goal is complete.  mixed: the phases belong to different configurations, in one
    line; empty when they do not.
    """

    release: tuple[PhaseJob, ...]
    failed: tuple[PhaseJob, ...]
    missing: tuple[str, ...]
    finished: bool
    mixed: str = ""


@dataclass(frozen=True)
class Pace:
    """Seconds between two checks, and seconds to wait for a server that does not answer."""

    interval: float = 5.0
    patience: float = 900.0


def outlook(jobs: Sequence[PhaseJob], *, goal: str) -> Outlook:
    """The Jobs of a round -> the next actions. Pure function.

    `missing` holds only phases that the goal still needs. A finished phase whose Job was deleted is missing only if an
    unfinished phase directly waits for it.
    """
    by_name = {job.phase: job for job in jobs}
    failed = tuple(job for job in jobs if job.state == "failed")
    needed = _needed(by_name, goal)
    missing = tuple(name for name in needed if name not in by_name)
    mixed = mixture(jobs)
    stopped = failed or mixed
    release = tuple(job for job in jobs if job.state == "waiting" and _may_begin(job, by_name)) if not stopped else ()
    finished = goal in by_name and by_name[goal].state == "complete"
    return Outlook(release, failed, missing, finished=finished, mixed=mixed)


def mixture(jobs: Sequence[PhaseJob]) -> str:
    """Which phases of a round belong to which configuration, in one line; empty when all belong to the same.

    A corrected manifest cannot change a Job that was released or that mounts the old configuration, so such Jobs stay behind.
    """
    phases: dict[str, list[str]] = {}
    for job in jobs:
        if job.configured:
            phases.setdefault(job.configured, []).append(job.phase)
    if len(phases) < 2:
        return ""
    return "the phases have different configurations: " + "; ".join(f"{name} {', '.join(phases[name])}" for name in phases)


def coordinate(
    cluster: Cluster,
    *,
    run: str,
    round_: int,
    goal: str,
    queue: str | None = None,
    pace: Pace = Pace(),
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Release each phase of a round when the phases before it are complete, until the goal is complete.

    queue: hand phases to this Kueue queue instead of starting them. Raises NotReadyError with the name of a phase that has
    failed, and leaves the other phases suspended; InputError for phases of different configurations; FaultError after
    `pace.patience` seconds without an answer of the server.
    """
    told, troubles, silent, unanswered, unsettled = "", 0, False, _Lasting(now), _Lasting(now)
    while True:
        found, trouble = _looked(cluster, run=run, round_=round_, goal=goal)
        if found:
            _stop_if_failed(found, cluster)
            if found.finished:
                say(f"{goal}: complete; round {round_} of {run} is done")
                return
            _stop_if_mixed(found, unsettled.seconds(bool(found.mixed)), run=run, round_=round_)
            if silent:
                say("the API server answers again")
            trouble = _release(cluster, found, queue=queue)
        line = str(trouble) if trouble else _waits_for(found)
        if line != told and line:
            say(line)
        told, silent, troubles = line, found is None, troubles + 1 if trouble else 0
        if unanswered.seconds(trouble is not None) > pace.patience:
            raise FaultError(f"the API server has refused or not answered for {pace.patience:.0f} s; the last error: {line}")
        sleep(_pause(pace, troubles, trouble))


class _Lasting:
    """Measures for how long a condition has held, from the last check at which it did not."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._since = now, now()

    def seconds(self, holds: bool) -> float:
        """Note whether the condition holds now -> the seconds for which it has held, or 0."""
        if not holds:
            self._since = self._now()
        return self._now() - self._since


def _looked(cluster: Cluster, *, run: str, round_: int, goal: str) -> tuple[Outlook | None, Trouble | None]:
    """The outlook, or why the Jobs could not be listed."""
    try:
        return outlook(cluster.phases(run=run, round_=round_), goal=goal), None
    except Trouble as error:
        return None, error


def _needed(jobs: dict[str, PhaseJob], goal: str) -> list[str]:
    """The goal, and the predecessors of every needed phase that is unfinished, as far as there are Jobs."""
    found, todo = [], [goal]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.append(name)
        if name in jobs and jobs[name].state != "complete":
            todo += jobs[name].after
    return found


def _may_begin(job: PhaseJob, jobs: dict[str, PhaseJob]) -> bool:
    return all(name in jobs and jobs[name].state == "complete" for name in job.after)


def _release(cluster: Cluster, found: Outlook, *, queue: str | None) -> Trouble | None:
    """Release all phases that may begin -> the last Trouble. A phase that cannot be released does not block the others."""
    trouble = None
    for phase in found.release:
        try:
            cluster.release(phase, queue=queue)
        except Trouble as error:
            trouble = error
        else:
            say(f"{phase.phase}: " + (f"handed to the queue {queue}" if queue else f"released, Job {phase.job}"))
    return trouble


def _stop_if_failed(found: Outlook, cluster: Cluster) -> None:
    if found.failed:
        names = "; ".join(f"{phase.phase} failed ({phase.why})" for phase in found.failed)
        look = log_command(found.failed[0].job, namespace=cluster.namespace)
        raise NotReadyError(f"{names}; see `{look}`; the phases after it stay suspended")


def log_command(job: str, *, namespace: str) -> str:
    """The command that shows what all containers of a Job have written, also when its init container has failed."""
    return f"kubectl -n {namespace} logs job/{job} --all-containers --ignore-errors"


def _stop_if_mixed(found: Outlook, seconds: float, *, run: str, round_: int) -> None:
    if seconds > APPLYING:
        raise InputError(
            f"{found.mixed}; stop the round with `selfsyn k8s delete --run {run} --round {round_}`, and apply its manifest again"
        )


def _waits_for(found: Outlook | None) -> str:
    if found and found.mixed:
        return f"{found.mixed}; waiting {APPLYING:.0f} s for the rest of the manifest"
    if not found or not found.missing:
        return ""
    return f"no Job for {', '.join(found.missing)}: apply the round's manifest again; waiting"


def _pause(pace: Pace, troubles: int, trouble: Trouble | None) -> float:
    """Seconds to sleep: the interval, doubled with each Trouble in a row, and never less than the server asked for."""
    if trouble is None:
        return pace.interval
    longer = min(pace.interval * 2 ** min(troubles, 10), max(LONGEST_PAUSE, pace.interval))
    return max(longer, trouble.retry_after)
