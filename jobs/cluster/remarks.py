"""What Kubernetes says about the pods of a Job: why they wait, and how the last one ended. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from lightkube.models.core_v1 import ContainerStateTerminated, ContainerStatus
from lightkube.resources.core_v1 import Event, Pod

from jobs.cluster.api import PhaseJob

JOB_NAME = "batch.kubernetes.io/job-name"  # label that the Job controller puts on pods
STARTING = ("ContainerCreating", "PodInitializing")  # the normal course, unless a warning says why it lasts
LONGEST = 200  # characters of a remark


def state_and_remark(job: PhaseJob, pods: Sequence[Pod], warnings: Sequence[Event]) -> tuple[str, str]:
    """The state of a Job as its pods show it, and the reason in one line.

    The state is that of the Job; but instead of 'running' it is 'pending' when no pod runs and one waits, 'retrying' between
    two tries, and 'starting' before the first pod. pods, warnings: all of the run.
    """
    mine = sorted((pod for pod in pods if _label(pod, JOB_NAME) == job.job), key=_created)
    if job.state == "failed":
        return job.state, _short("; ".join(filter(None, [job.why, *_endings(mine)])))
    if job.state == "waiting":
        return job.state, f"after {', '.join(job.after)}" if job.after else ""
    return _of_running(job, mine, warnings) if job.state == "running" else (job.state, "")


def _of_running(job: PhaseJob, pods: Sequence[Pod], warnings: Sequence[Event]) -> tuple[str, str]:
    live = [pod for pod in pods if _phase(pod) in ("Pending", "Running")]
    waits = [reason for pod in live if (reason := _waits(pod, warnings))]
    last = "".join(f"last failure: {ending}" for ending in _endings(pods))
    if waits:
        others = f" (and {len(waits) - 1} more pods wait)" if len(waits) > 1 else ""
        return "running" if len(waits) < len(live) else "pending", _short(waits[0]) + others
    if live:
        return "running", _short(last)
    refused = _warning(job.job, warnings)
    return "retrying" if last else "starting", _short("; ".join(filter(None, [refused, last])))


def _waits(pod: Pod, warnings: Sequence[Event]) -> str:
    """Why a pod does not run yet; '' for one that runs."""
    for condition in (pod.status.conditions if pod.status else None) or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"{condition.reason}: {condition.message}"
    reasons = list(_container_reasons(pod))
    serious = [text for reason, text in reasons if reason not in STARTING]
    if serious:
        return serious[0]
    if _phase(pod) == "Running":
        return ""
    name = str(pod.metadata.name) if pod.metadata else ""
    return _warning(name, warnings) or (reasons[0][1] if reasons else "Pending")


def _container_reasons(pod: Pod) -> Iterator[tuple[str, str]]:
    """Of each container that waits: the reason, and the reason with its message and with the end of the try before."""
    for status in _containers(pod):
        waiting = status.state.waiting if status.state else None
        if waiting and waiting.reason:
            before = status.lastState.terminated if status.lastState else None
            parts = [waiting.message or "", _ending(status.name, before) if before else ""]
            yield waiting.reason, ": ".join([waiting.reason, *filter(None, parts)])


def _endings(pods: Sequence[Pod]) -> list[str]:
    """How the last failed pod ended: at most one line."""
    for pod in reversed(pods):
        if _phase(pod) != "Failed":
            continue
        ended = [(status.name, status.state.terminated) for status in _containers(pod) if status.state]
        failed = [_ending(name, state) for name, state in ended if state and state.exitCode]
        status = pod.status
        removed = f"{status.reason}: {status.message}" if status and status.reason else "the pod failed"
        return [failed[0] if failed else removed]
    return []


def _ending(container: str, state: ContainerStateTerminated) -> str:
    """'phase: exit code 2 (Error): selfsyn: ...', with the last line that the container wrote."""
    lines = (state.message or "").strip().splitlines()
    return f"{container}: exit code {state.exitCode} ({state.reason})" + (f": {lines[-1].strip()}" if lines else "")


def _warning(name: str, warnings: Sequence[Event]) -> str:
    """The newest warning about a pod or a Job."""
    about = [event for event in warnings if event.involvedObject.name == name]
    newest = max(about, key=_when, default=None)
    return f"{newest.reason}: {newest.message}" if newest else ""


def _when(event: Event) -> datetime:
    return event.lastTimestamp or event.eventTime or event.firstTimestamp or datetime.min.replace(tzinfo=UTC)


def _containers(pod: Pod) -> list[ContainerStatus]:
    status = pod.status
    return [*(status.initContainerStatuses or []), *(status.containerStatuses or [])] if status else []


def _phase(pod: Pod) -> str:
    return (pod.status.phase if pod.status else None) or "Pending"


def _label(pod: Pod, name: str) -> str:
    return ((pod.metadata.labels if pod.metadata else None) or {}).get(name, "")


def _created(pod: Pod) -> datetime:
    return (pod.metadata.creationTimestamp if pod.metadata else None) or datetime.min.replace(tzinfo=UTC)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
