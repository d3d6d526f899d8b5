"""The coordinator: lists the round's Jobs, releases those that may begin, and repeats. It keeps no state."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.cluster.api import Cluster, PhaseJob, Trouble
from selfsyn.errors import FaultError, NotReadyError
from selfsyn.progress import say

LONGEST_PAUSE = 60.0  # seconds between two requests to an API server that does not answer


@dataclass(frozen=True)
class Outlook:
    """The next actions for a round.

    release: phases whose predecessors are complete.  failed: phases that failed.  missing: phases without a Job, for which
    an unfinished phase waits.  finished: the goal is complete.
    """

    release: tuple[PhaseJob, ...]
    failed: tuple[PhaseJob, ...]
    missing: tuple[str, ...]
    finished: bool


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
    release = tuple(job for job in jobs if job.state == "waiting" and _may_begin(job, by_name)) if not failed else ()
    return Outlook(release, failed, missing, finished=goal in by_name and by_name[goal].state == "complete")


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
    failed, and leaves the other phases suspended; FaultError after `pace.patience` seconds without an answer of the server.
    """
    told, answered, troubles = "", now(), 0
    while True:
        trouble: Trouble | None = None
        try:
            found = outlook(cluster.phases(run=run, round_=round_), goal=goal)
        except Trouble as error:
            trouble, line = error, str(error)
        else:
            _stop_if_failed(found, cluster)
            if found.finished:
                say(f"{goal}: complete; round {round_} of {run} is done")
                return
            trouble = _release(cluster, found, queue=queue)
            line = str(trouble) if trouble else _waits_for(found)
        if line != told and line:
            say(line)
        told, troubles = line, troubles + 1 if trouble else 0
        answered = answered if trouble else now()
        if now() - answered > pace.patience:
            raise FaultError(f"the API server has refused or not answered for {pace.patience:.0f} s; the last error: {line}")
        sleep(_pause(pace, troubles, trouble))


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
        look = f"kubectl -n {cluster.namespace} logs job/{found.failed[0].job}"
        raise NotReadyError(f"{names}; see `{look}`; the phases after it stay suspended")


def _waits_for(found: Outlook) -> str:
    if not found.missing:
        return ""
    return f"no Job for {', '.join(found.missing)}: apply the round's manifest again; waiting"


def _pause(pace: Pace, troubles: int, trouble: Trouble | None) -> float:
    """Seconds to sleep: the interval, doubled with each Trouble in a row, and never less than the server asked for."""
    if trouble is None:
        return pace.interval
    longer = min(pace.interval * 2 ** min(troubles, 10), max(LONGEST_PAUSE, pace.interval))
    return max(longer, trouble.retry_after)
