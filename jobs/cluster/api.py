"""Access to the cluster: lists phases and releases them, nothing else. Uses lightkube as the client of the API server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import httpx2
import msgspec
from lightkube import Client, operators
from lightkube.core.exceptions import ConfigError
from lightkube.models.batch_v1 import JobCondition
from lightkube.resources.batch_v1 import Job
from lightkube.types import PatchType

from jobs.cluster.names import AFTER, CONFIGURATION, FIELD_MANAGER, PHASE, QUEUE, ROUND, RUN
from selfsyn.errors import InputError

State = Literal["waiting", "queued", "running", "complete", "failed"]


class Trouble(RuntimeError):
    """The API server refused, failed or did not answer. retry_after: the seconds that it asked us to wait, or 0."""

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        """message: one line."""
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class PhaseJob:
    """The present state of a phase's Job.

    job: the Job's name.  version: its resourceVersion.  done, of: completed and total indexes; 1 in total without indexes.
    tries: failed pods.  why: the reason of a failed Job.  began: None until the release.  ended: None until the Job ends.
    configured: the digest of the run's configuration in the manifest of the Job; empty for a Job of an older program.
    """

    job: str
    phase: str
    round_: int
    after: tuple[str, ...]
    state: State
    version: str
    done: int = 0
    of: int = 1
    tries: int = 0
    why: str = ""
    began: datetime | None = None
    ended: datetime | None = None
    configured: str = ""


class Cluster:
    """The namespace of a cluster in which our phases run."""

    def __init__(self, *, namespace: str | None = None, timeout: float = 10.0) -> None:
        """Connect with the pod's service account, or else KUBECONFIG or ~/.kube/config. InputError when all are missing.

        When the server refuses an old token, the client reads the rotated token. timeout: seconds for an answer.
        """
        try:
            self._client = Client(namespace=namespace, timeout=httpx2.Timeout(timeout), field_manager=FIELD_MANAGER)
        except (ConfigError, KeyError, OSError, ValueError, msgspec.MsgspecError) as error:
            raise InputError(
                f"no cluster to talk to ({error}); set KUBECONFIG, or run in a pod with a service account"
            ) from error
        self.namespace: str = self._client.namespace

    def phases(self, *, run: str, round_: int | None = None) -> list[PhaseJob]:
        """The phases of a run or of one round that have a Job. Raises Trouble."""
        labels: dict[str, Any] = {RUN: run, PHASE: operators.exists()}
        if round_ is not None:
            labels[ROUND] = str(round_)
        with _one_line("list jobs"):
            return [described(job) for job in self._client.list(Job, labels=labels, chunk_size=500)]

    def release(self, phase: PhaseJob, *, queue: str | None = None) -> None:
        """Start a waiting phase, or hand it to a Kueue queue. Raises Trouble, also if the Job has changed since it was listed."""
        change: dict[str, Any] = {"spec": {"suspend": False}} if queue is None else {"metadata": {"labels": {QUEUE: queue}}}
        if phase.version:  # the server reports a conflict if the Job has changed
            change.setdefault("metadata", {})["resourceVersion"] = phase.version
        with _one_line(f"release {phase.phase}"):
            self._client.patch(Job, phase.job, change, patch_type=PatchType.MERGE)


def described(job: Job) -> PhaseJob:
    """A Job -> the state of its phase."""
    metadata, spec, status = job.metadata, job.spec, job.status
    assert metadata is not None and spec is not None  # every Job from the server has both
    labels, annotations = metadata.labels or {}, metadata.annotations or {}
    ended = {
        condition.type: condition for condition in (status.conditions if status else None) or [] if condition.status == "True"
    }
    last = ended.get("Failed") or ended.get("Complete")
    return PhaseJob(
        job=str(metadata.name),
        phase=labels[PHASE],
        round_=int(labels.get(ROUND, 0)),
        after=tuple(annotations.get(AFTER, "").replace(",", " ").split()),
        state=_state(ended, suspended=bool(spec.suspend), queued=QUEUE in labels),
        version=metadata.resourceVersion or "",
        done=(status.succeeded if status else None) or 0,
        of=spec.completions or 1,
        tries=(status.failed if status else None) or 0,
        why=_why(ended.get("Failed")),
        began=status.startTime if status else None,
        ended=last.lastTransitionTime if last else None,
        configured=labels.get(CONFIGURATION, ""),
    )


def _state(ended: Mapping[str, JobCondition], *, suspended: bool, queued: bool) -> State:
    if "Failed" in ended:
        return "failed"
    if "Complete" in ended:
        return "complete"
    if suspended:
        return "queued" if queued else "waiting"
    return "running"


def _why(failed: JobCondition | None) -> str:
    return f"{failed.reason or 'Failed'}: {failed.message or 'no message'}".replace("\n", " ") if failed else ""


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn every error of the connection or the server into Trouble with a message of one line."""
    try:
        yield
    except httpx2.HTTPStatusError as error:  # also lightkube's ApiError
        raise Trouble(f"{what}: {_first_line(error)}", retry_after=_retry_after(error.response)) from error
    except (httpx2.HTTPError, ConfigError, msgspec.MsgspecError, ValueError, KeyError, OSError) as error:
        # No connection, no answer in time, no token, or an answer that is not from Kubernetes.
        raise Trouble(f"{what}: {type(error).__name__}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no answer in time"])[0]


def _retry_after(response: httpx2.Response | None) -> float:
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return float(asked) if asked.isdecimal() else 0.0
