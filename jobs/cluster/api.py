"""Access to the API server of a cluster, with lightkube as the client. The coordinator lists and releases phases, no more."""

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
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.batch_v1 import JobCondition
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Event, Pod
from lightkube.types import CascadeType, PatchType
from yaml import YAMLError

from jobs.cluster.names import AFTER, CONFIGURATION, FIELD_MANAGER, PHASE, QUEUE, ROUND, RUN
from selfsyn.errors import FaultError, InputError

State = Literal["waiting", "queued", "running", "complete", "failed"]
COORDINATOR = "coordinator"
COMPONENT, PART_OF = "app.kubernetes.io/component", "app.kubernetes.io/part-of"
Object = dict[str, Any]
# The kinds of object in the manifest of a round, in the order of their deletion. Their fields are kept as the server gives
# them: lightkube's typed objects know only the fields of one Kubernetes version.
KINDS = {
    plural: create_namespaced_resource(group, "v1", kind, plural)
    for group, kind, plural in (
        ("batch", "Job", "jobs"),
        ("rbac.authorization.k8s.io", "RoleBinding", "rolebindings"),
        ("rbac.authorization.k8s.io", "Role", "roles"),
        ("", "ServiceAccount", "serviceaccounts"),
        ("", "ConfigMap", "configmaps"),
    )
}
UNAUTHORIZED, FORBIDDEN, SILENT = 401, 403, 0
REMEDIES = {
    UNAUTHORIZED: "; the server does not accept the token: log in again, or set KUBECONFIG",
    FORBIDDEN: "; ask for this right",
    SILENT: "; see whether `kubectl cluster-info` gets an answer",
}


class Trouble(FaultError):
    """The API server refused, failed or did not answer.

    retry_after: the seconds that it asked us to wait, or 0.  code: the HTTP status, or 0 without an answer.
    """

    def __init__(self, message: str, *, retry_after: float = 0.0, code: int = 0) -> None:
        """message: one line."""
        super().__init__(message + REMEDIES.get(code, ""))
        self.retry_after, self.code = retry_after, code
        self.exit_code = InputError.exit_code if code in (UNAUTHORIZED, FORBIDDEN) else FaultError.exit_code


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
        """Connect with the pod's service account, or else KUBECONFIG or ~/.kube/config. InputError when none of them works.

        When the server refuses an old token, the client reads the rotated token. timeout: seconds for an answer.
        """
        try:
            self._client = Client(namespace=namespace, timeout=httpx2.Timeout(timeout), field_manager=FIELD_MANAGER)
        except (
            ConfigError,
            LookupError,
            AttributeError,
            TypeError,
            OSError,
            ValueError,
            YAMLError,
            msgspec.MsgspecError,
        ) as error:
            raise InputError(
                f"no cluster to talk to ({' '.join(str(error).split())}); set KUBECONFIG to a configuration of"
                " kubectl, or run in a pod with a service account"
            ) from error
        self.namespace: str = self._client.namespace

    def phases(self, *, run: str, round_: int | None = None) -> list[PhaseJob]:
        """The phases of a run or of one round that have a Job. Raises Trouble."""
        labels = _labels(run, round_) | {PHASE: operators.exists()}
        with _one_line("list jobs"):
            return [described(job) for job in self._client.list(Job, labels=labels, chunk_size=500)]

    def jobs(self, *, run: str, round_: int | None = None) -> list[PhaseJob]:
        """As `phases`, with the coordinators of the rounds, whose phase is 'coordinator'. Raises Trouble."""
        with _one_line("list jobs"):
            found = list(self._client.list(Job, labels=_labels(run, round_), chunk_size=500))
        return [described(job) for job in found if _phase(job)]

    def pods(self, *, run: str, round_: int | None = None) -> list[Pod]:
        """The pods of a run or of one round. Raises Trouble."""
        with _one_line("list pods"):
            return list(self._client.list(Pod, labels=_labels(run, round_), chunk_size=500))

    def warnings(self) -> list[Event]:
        """The warnings in the namespace that the server still has, usually those of the last hour. Raises Trouble."""
        with _one_line("list events"):
            return list(self._client.list(Event, fields={"type": "Warning"}, chunk_size=500))

    def objects(self, kind: str, *, run: str, round_: int | None = None) -> list[Object]:
        """The objects of a kind (a key of KINDS) in the manifests of a run or of one round. Raises Trouble."""
        labels = _labels(run, round_) | {PART_OF: "selfsyn"}
        with _one_line(f"list {kind}"):
            return [dict(found) for found in self._client.list(KINDS[kind], labels=labels, chunk_size=500)]

    def delete(self, kind: str, name: str) -> None:
        """Delete an object; a Job stays in the list until its pods have ended. Raises Trouble unless it is gone already."""
        with _one_line(f"delete {kind} {name}", ignore=404):
            self._client.delete(KINDS[kind], name, cascade=CascadeType.FOREGROUND)

    def apply(self, kind: str, body: Object, *, manager: str) -> None:
        """Create an object as `kubectl apply --server-side --field-manager MANAGER` does. Raises Trouble."""
        name = body["metadata"]["name"]
        with _one_line(f"apply {kind} {name}"):
            self._client.patch(KINDS[kind], name, body, patch_type=PatchType.APPLY, field_manager=manager)

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
        phase=_phase(job),
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


def _labels(run: str, round_: int | None) -> dict[str, Any]:
    return {RUN: run} | ({ROUND: str(round_)} if round_ is not None else {})


def _phase(job: Job) -> str:
    """The name of the phase, 'coordinator', or '' for a Job that is neither."""
    labels = (job.metadata.labels if job.metadata else None) or {}
    return labels.get(PHASE) or (COORDINATOR if labels.get(COMPONENT) == COORDINATOR else "")


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
def _one_line(what: str, *, ignore: int = 0) -> Iterator[None]:
    """Turn every error of the connection or the server into Trouble with a message of one line. ignore: an HTTP status."""
    try:
        yield
    except httpx2.HTTPStatusError as error:  # also lightkube's ApiError
        code = error.response.status_code
        if code != ignore:
            raise Trouble(f"{what}: {_first_line(error)}", retry_after=_retry_after(error.response), code=code) from error
    except (httpx2.HTTPError, ConfigError, msgspec.MsgspecError, ValueError, KeyError, OSError) as error:
        # No connection, no answer in time, no token, or an answer that is not from Kubernetes.
        raise Trouble(f"{what}: {type(error).__name__}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no answer in time"])[0]


def _retry_after(response: httpx2.Response | None) -> float:
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return float(asked) if asked.isdecimal() else 0.0
