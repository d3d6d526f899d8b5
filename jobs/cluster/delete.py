"""Removes from a cluster what the manifests of a run have made there. The volume keeps all its files."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from jobs.cluster.api import COMPONENT, COORDINATOR, KINDS, Cluster, Object
from jobs.cluster.names import RUN
from selfsyn.errors import FaultError, InputError
from selfsyn.progress import say

PATIENCE = 600.0  # seconds that stopped pods may take to end: longer than the grace period of any phase
INTERVAL = 2.0


def delete(cluster: Cluster, *, run: str, round_: int | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
    """Delete the Jobs of a run or of one round, wait for the end of their pods, and delete the other objects.

    The coordinators go first, so that they start nothing more. Raises Trouble; InputError when there is nothing to delete;
    FaultError when a pod does not end.
    """
    names = 0
    for kind in KINDS:
        found = cluster.objects(kind, run=run, round_=round_)
        names += len(found)
        remove(cluster, kind, sorted(found, key=lambda body: not is_coordinator(body)), sleep=sleep)
    if not names:
        raise InputError(
            f"found nothing of run {run!r} in the namespace {cluster.namespace!r}; give --namespace, or see"
            " `kubectl get jobs --all-namespaces -l selfsyn/run`"
        )


def remove(cluster: Cluster, kind: str, bodies: Collection[Object], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Delete objects of one kind and wait until they are gone. Raises Trouble, and FaultError after 10 minutes."""
    for body in bodies:
        cluster.delete(kind, body["metadata"]["name"])
        say(f"{kind.removesuffix('s')} {body['metadata']['name']}: deleted")
    ids = {body["metadata"].get("uid", body["metadata"]["name"]) for body in bodies}
    waited = 0.0
    while ids and (left := _left(cluster, kind, bodies, ids)):
        if waited >= PATIENCE:
            raise FaultError(
                f"{', '.join(left)}: not gone after {waited:.0f} s; see `kubectl describe`, and run the command again"
            )
        sleep(INTERVAL)
        waited += INTERVAL


def is_coordinator(body: Object) -> bool:
    """Whether an object is the Job of a coordinator."""
    return bool(body["metadata"].get("labels", {}).get(COMPONENT) == COORDINATOR)


def _left(cluster: Cluster, kind: str, bodies: Collection[Object], ids: Collection[str]) -> list[str]:
    """The names of the deleted objects that are still there."""
    runs = {body["metadata"]["labels"][RUN] for body in bodies}
    there = [body["metadata"] for run in runs for body in cluster.objects(kind, run=run)]
    return [metadata["name"] for metadata in there if metadata.get("uid", metadata["name"]) in ids]
