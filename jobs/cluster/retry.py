"""Another try of phases that have failed: their Jobs are deleted and created again as they were, and so is the coordinator's."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.cluster.api import COORDINATOR, Cluster, Object, PhaseJob
from jobs.cluster.delete import remove
from jobs.cluster.names import QUEUE
from selfsyn.errors import FaultError, InputError
from selfsyn.progress import say

APPLIER = "kubectl"  # the field manager of `kubectl apply --server-side`, so that it can change the Job later
OF_THE_SERVER = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink", "finalizers")
OF_THE_CONTROLLER = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")
TRIES = 6  # of the creation, if the server does not answer


def retry(cluster: Cluster, *, run: str, phases: Sequence[str] = (), sleep: Callable[[float], None] = time.sleep) -> None:
    """Delete the Jobs of `phases` and create them again, suspended; then the coordinators of their rounds, if they have ended
    or soon will, because a phase of theirs has failed.

    phases: without any, all that have failed. Between deletion and creation, a file holds the Jobs. Raises InputError for a
    phase that is not there or has not ended, and for a round without coordinator; Trouble; FaultError with the file's path.
    """
    jobs = cluster.jobs(run=run)
    chosen = [_ended(jobs, name, run=run) for name in phases] or [job for job in jobs if job.state == "failed"]
    if not chosen:
        raise InputError(
            f"no phase of run {run!r} has failed; name one with --phase, as `selfsyn k8s status --run {run}` shows it"
        )
    coordinators = [_coordinator(jobs, round_) for round_ in sorted({job.round_ for job in chosen})]
    names = [job.job for job in chosen if job.phase != COORDINATOR]
    failed = {job.round_ for job in chosen if job.state == "failed"}
    names += [job.job for job in coordinators if job.state in ("failed", "complete") or job.round_ in failed]
    bodies = {body["metadata"]["name"]: body for body in cluster.objects("jobs", run=run)}
    _again(cluster, [bodies[name] for name in names], sleep=sleep)


def pristine(body: Object) -> Object:
    """A Job from the server -> the Job as its manifest describes it: suspended, without what the server has added."""
    metadata = {name: value for name, value in body["metadata"].items() if name not in OF_THE_SERVER}
    metadata["labels"] = {name: value for name, value in metadata["labels"].items() if name != QUEUE}
    spec = {name: value for name, value in body["spec"].items() if name != "selector"}
    pod = {name: value for name, value in spec["template"]["metadata"].items() if name not in OF_THE_SERVER}
    pod["labels"] = {name: value for name, value in pod["labels"].items() if name not in OF_THE_CONTROLLER}
    spec["template"] = spec["template"] | {"metadata": pod}
    if "selfsyn/phase" in metadata["labels"]:
        spec["suspend"] = True
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def manager(body: Object) -> str:
    """The field manager that has applied an object with --server-side; kubectl's for any other object."""
    fields = body["metadata"].get("managedFields", [])
    return next((str(entry["manager"]) for entry in fields if entry.get("operation") == "Apply"), APPLIER)


def _ended(jobs: Sequence[PhaseJob], name: str, *, run: str) -> PhaseJob:
    found = [job for job in jobs if job.phase == name and name != COORDINATOR]
    if not found:
        raise InputError(
            f"run {run!r} has no Job for the phase {name!r}; `selfsyn k8s status --run {run}` shows those that it has"
        )
    if found[0].state not in ("failed", "complete"):
        raise InputError(f"{name} is {found[0].state}, and has not failed; `selfsyn k8s delete --run {run}` stops all phases")
    return found[0]


def _coordinator(jobs: Sequence[PhaseJob], round_: int) -> PhaseJob:
    found = [job for job in jobs if job.phase == COORDINATOR and job.round_ == round_]
    if not found:
        raise InputError(f"round {round_} has no coordinator, so nothing would start the phase; apply the round's manifest again")
    return found[0]


def _again(cluster: Cluster, bodies: Sequence[Object], *, sleep: Callable[[float], None]) -> None:
    """Delete and create Jobs. The last is the coordinator's, which must not see an earlier failure."""
    kept = _kept([pristine(body) for body in bodies])
    say(f"{kept} holds the Jobs; if this is interrupted: kubectl apply --server-side -f {kept}")
    try:
        remove(cluster, "jobs", list(reversed(bodies)), sleep=sleep)
        for body in bodies:
            _created(cluster, body, sleep=sleep)
    except FaultError as error:
        raise FaultError(f"{error}; then run `kubectl apply --server-side -f {kept}`, which holds the Jobs") from error
    kept.unlink()


def _created(cluster: Cluster, body: Object, *, sleep: Callable[[float], None]) -> None:
    for attempt in range(TRIES):
        try:
            cluster.apply("jobs", pristine(body), manager=manager(body))
            break
        except FaultError:
            if attempt == TRIES - 1:
                raise
            sleep(2.0**attempt)
    say(f"job {body['metadata']['name']}: created again")


def _kept(bodies: Sequence[Object]) -> Path:
    """Write the Jobs to a temporary file, for `kubectl apply` if this program is stopped before it has created them."""
    handle, name = tempfile.mkstemp(prefix="selfsyn-retry-", suffix=".json")
    with os.fdopen(handle, "w") as stream:
        json.dump({"apiVersion": "v1", "kind": "List", "items": list(bodies)}, stream, indent=1)
    return Path(name)
